// A small process that outlives us by a moment. Memory that is not there yet is held back by our userfaultfd;
// if we were killed, the kernel would close it before it sends any signal on our behalf, and the program
// would read zeroes. The guardian shares our table of descriptors, so that they stay open after our death,
// sees that death, ends the program's processes and their children, and lets go of the descriptors when they
// are gone.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/unique_fd.h"
#include "engine/restore/program_family.h"

namespace ckpt::engine {

class Guardian {
 public:
  // Call it while this process has no other threads. `processes` stay open as long as it lives.
  explicit Guardian(const std::vector<WatchedProcess>& processes);
  ~Guardian();  // ends the guardian, not the program
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  pid_t pid() const { return pid_; }  // a child of ours

 private:
  UniqueFd supervisor_;  // pidfd of ours, for the guardian to look at
  UniqueFd guardian_;    // pidfd
  pid_t pid_ = 0;
};

}  // namespace ckpt::engine
