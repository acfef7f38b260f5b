#include "store/system_calls.h"

#include <unistd.h>

#include <cstdio>

namespace ckpt::store {
namespace {

int open_at(int directory, const char* path, int flags, mode_t mode) {
  return ::openat(directory, path, flags, mode);
}

int lock_range(int fd, int command, struct flock* range) { return ::fcntl(fd, command, range); }

}  // namespace

SystemCalls& system_calls() {
  static SystemCalls table{.openat = open_at,
                           .close = ::close,
                           .fstat = ::fstat,
                           .fstatat = ::fstatat,
                           .pread = ::pread,
                           .fadvise = ::posix_fadvise,
                           .pwrite = ::pwrite,
                           .fdatasync = ::fdatasync,
                           .fsync = ::fsync,
                           .renameat = ::renameat,
                           .unlinkat = ::unlinkat,
                           .mkdirat = ::mkdirat,
                           .lock = lock_range,
                           .fdopendir = ::fdopendir,
                           .readdir = ::readdir,
                           .closedir = ::closedir};
  return table;
}

}  // namespace ckpt::store
