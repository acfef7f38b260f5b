#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace ckpt::tests {

// fork(2); the child is killed when the thread that called this ends, also if it ended before the child could
// say so.
inline pid_t fork_child_that_ends_with_parent() {
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  return 0;
}

}  // namespace ckpt::tests
