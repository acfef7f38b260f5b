// The lock that a supervisor holds on its application as long as it lives.
//
// A POSIX record lock, because it belongs to the process: a child forked from the supervisor that has not yet
// called exec, or the first process of a pid namespace, would keep an flock() alive after the supervisor's
// death.
//
// Hard rule: within one process the lock file of an application is opened by RunLock only, and never again
// while the lock is held: closing any descriptor of the file drops the lock (fcntl(2)).
#pragma once

#include <sys/types.h>

#include <optional>

#include "base/unique_fd.h"

namespace ckpt::launcher {

class RunLock {
 public:
  // Empty if another process holds it. A holder that is on its way out is waited for.
  static std::optional<RunLock> try_acquire(int directory);

  // The process that holds the lock; empty if none does. Not to be asked while this process holds it.
  static std::optional<pid_t> holder(int directory);

 private:
  explicit RunLock(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace ckpt::launcher
