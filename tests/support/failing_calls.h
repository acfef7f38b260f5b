// What system calls of a disk that fails do, for the store's table of them (store/system_calls.h).
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstddef>

namespace ckpt::tests {

inline int failing_sync(int /*fd*/) {
  errno = EIO;
  return -1;
}

inline ssize_t write_without_space(int /*fd*/, const void* /*bytes*/, std::size_t /*size*/,
                                   off_t /*offset*/) {
  errno = ENOSPC;
  return -1;
}

}  // namespace ckpt::tests
