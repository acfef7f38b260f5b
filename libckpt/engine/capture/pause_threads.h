// Threads that share the work of a pause: while the program stands still its processors are idle.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ckpt::engine {

// The threads are made at the first use and kept, since making one takes longer than what it does in a pause.
// They make no ptrace calls. run() is called by one thread at a time.
class PauseThreads {
 public:
  static constexpr std::size_t kMost = 4;

  PauseThreads() = default;
  ~PauseThreads();
  PauseThreads(const PauseThreads&) = delete;
  PauseThreads& operator=(const PauseThreads&) = delete;

  // As many as can work at once, the caller among them.
  static std::size_t count();

  // Calls work(0) ... work(parts - 1), each once, in any order and by several threads, this one among them.
  // Returns when all have returned; throws what one of them has thrown.
  void run(std::size_t parts, const std::function<void(std::size_t)>& work);

 private:
  void start();
  void serve();
  void take_parts(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable wanted_, finished_;
  const std::function<void(std::size_t)>* work_ = nullptr;
  std::size_t next_ = 0, parts_ = 0, running_ = 0;
  std::exception_ptr failure_;
  bool over_ = false;
  std::vector<std::jthread> threads_;  // last: joined before what they use goes away
};

}  // namespace ckpt::engine
