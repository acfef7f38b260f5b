// pidfd_open(2) and pidfd_getfd(2). The raw calls: glibc 2.36 declares its own without C linkage.
#pragma once

#include <sys/types.h>

#include "base/unique_fd.h"

namespace ckpt {

// None, with errno, if there is no such process.
UniqueFd open_pidfd(pid_t pid);

// A descriptor of ours, close-on-exec, for what `number` of the process is; none, with errno, if it cannot be
// had.
UniqueFd copy_descriptor_of(pid_t pid, int number);

}  // namespace ckpt
