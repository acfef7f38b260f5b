// Reads pages of a version ahead of their use, in threads of its own that give way to everything else.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "engine/restore/page_room.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Pages for one of several receivers. Read, verified, and with `failure` set if that could not be done.
struct BackgroundRead {
  std::size_t receiver = 0;
  store::SpaceId space = 0;
  std::vector<store::PageRun> runs;
  std::uint64_t page_count = 0;
  bool urgent = false;  // wanted soon: read before threads give way
  PageRoom bytes;       // of all runs, one after the other
  std::exception_ptr failure;
};

// request(), take() and hurry() are called by one thread.
class BackgroundReads {
 public:
  explicit BackgroundReads(const store::CheckpointReader& reader);
  ~BackgroundReads();
  BackgroundReads(const BackgroundReads&) = delete;
  BackgroundReads& operator=(const BackgroundReads&) = delete;

  std::size_t outstanding() const { return outstanding_; }  // requested and not taken
  void request(BackgroundRead read);
  std::optional<BackgroundRead> take();  // one that is done, in any order
  void recycle(PageRoom buffer);
  int fd() const { return done_fd_.get(); }  // readable while take() may have something

  // Other threads, which do not give way, from now on. Called once.
  void hurry();

 private:
  void work(bool gives_way);
  void fill(BackgroundRead& read) const;

  const store::CheckpointReader& reader_;
  UniqueFd done_fd_;
  std::size_t outstanding_ = 0;
  std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<BackgroundRead> queue_;
  std::deque<BackgroundRead> done_;
  std::vector<PageRoom> buffers_;
  bool over_ = false, hurried_ = false;
  std::vector<std::jthread> threads_;  // last: joined before what they use goes away
};

}  // namespace ckpt::engine
