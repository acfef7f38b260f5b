// Threads of the store that work beside the checkpointed program: they yield to it (batch scheduling, lowest
// best-effort I/O priority) until the checkpoint is late, and take no signals, which are the launcher's.
//
// Both can be taken back without privilege, unlike a nice value (sched(7), ioprio_set(2)).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

namespace ckpt::store {

// Thread-safe.
class BackgroundPriority {
 public:
  // For the calling thread: low until hurry() is called, and registered with it until leave().
  void enter();
  void leave();
  // Gives all threads, also later ones, normal priority.
  void hurry();
  bool hurried() const { return hurried_; }

 private:
  std::mutex mutex_;
  std::set<pid_t> threads_;
  std::atomic<bool> hurried_ = false;
};

// Runs `work` in a thread with that priority, which must outlive it. `work` must not throw. Throws
// std::system_error if no thread can be started.
std::thread start_background_thread(BackgroundPriority& priority, std::function<void()> work);

}  // namespace ckpt::store
