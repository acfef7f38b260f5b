// Memory that comes after the program has started to run: what belongs together for that, from before the
// first page is missing until none is. If it goes away earlier, the program is ended.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>

#include "base/unique_fd.h"
#include "engine/restore/guardian.h"
#include "engine/restore/page_server.h"
#include "engine/session.h"

namespace ckpt::engine {

struct LazyFillWork {
  std::shared_ptr<const store::CheckpointReader> reader;
  store::SpaceId space = 0;
  UserFaults faults;  // started, watching whatever is missing
  MissingPages missing;
  std::vector<store::PageRun> order;
  int directory = -1;
};

class LazyFill {
 public:
  // Call it while this process has no other threads. `pid` is a child of ours.
  LazyFill(pid_t pid, LazyFillWork work);
  ~LazyFill();
  LazyFill(const LazyFill&) = delete;
  LazyFill& operator=(const LazyFill&) = delete;

  bool done() const { return server_->done(); }
  int done_fd() const { return server_->done_fd(); }
  void hurry() { server_->hurry(); }
  const FillReport& report() const { return server_->report(); }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
  std::optional<Guardian> guardian_;
  std::optional<PageServer> server_;
};

}  // namespace ckpt::engine
