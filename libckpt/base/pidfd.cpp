#include "base/pidfd.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace ckpt {

UniqueFd open_pidfd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

UniqueFd copy_descriptor_of(pid_t pid, int number) {
  UniqueFd process = open_pidfd(pid);
  if (!process) return {};
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
}

}  // namespace ckpt
