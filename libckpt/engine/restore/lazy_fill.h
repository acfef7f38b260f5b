// Memory that comes after the program has started to run: what belongs together for that, from before the
// first page is missing until none is. If it goes away earlier, the program is ended.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/restore/guardian.h"
#include "engine/restore/page_server.h"
#include "engine/session.h"

namespace ckpt::engine {

struct LazyFillWork {
  std::shared_ptr<const store::CheckpointReader> reader;
  std::vector<LazyMemory> memories;  // the program's first, if it is one of them
  std::vector<pid_t> processes;      // that end together if memory is lost: all of the program
  int directory = -1;
  bool stays = false;  // see PageServer
};

class LazyFill {
 public:
  // Call it while this process has no other threads.
  explicit LazyFill(LazyFillWork work);
  ~LazyFill();
  LazyFill(const LazyFill&) = delete;
  LazyFill& operator=(const LazyFill&) = delete;

  bool done() const { return server_->done(); }
  int done_fd() const { return server_->done_fd(); }
  void hurry() { server_->hurry(); }
  const FillReport& report() const { return server_->report(); }
  PageServer& server() { return *server_; }
  pid_t guardian() const { return guardian_->pid(); }

 private:
  std::vector<WatchedProcess> processes_;
  std::optional<Guardian> guardian_;
  std::optional<PageServer> server_;
};

}  // namespace ckpt::engine
