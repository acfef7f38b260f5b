#include "store/system_calls.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

namespace ckpt::store {
namespace {

int open_at(int directory, const char* path, int flags, mode_t mode) {
  return ::openat(directory, path, flags, mode);
}

std::int64_t cached_pages(int fd, std::uint64_t offset, std::uint64_t size) {
  constexpr long kCachestat = 451;  // asm-generic/unistd.h, linux/mman.h
  struct {
    std::uint64_t offset, size;
  } range{offset, size};
  struct {
    std::uint64_t cached, dirty, written_back, evicted, recently_evicted;
  } status{};
  if (::syscall(kCachestat, fd, &range, &status, 0) != 0) return -1;
  return static_cast<std::int64_t>(status.cached);
}

int lock_range(int fd, int command, struct flock* range) { return ::fcntl(fd, command, range); }

int set_io_priority(pid_t thread, int priority) {
  constexpr int kWhoProcess = 1;  // linux/ioprio.h
  return static_cast<int>(::syscall(SYS_ioprio_set, kWhoProcess, thread, priority));
}

}  // namespace

SystemCalls& system_calls() {
  static SystemCalls table{.openat = open_at,
                           .close = ::close,
                           .fstat = ::fstat,
                           .fstatat = ::fstatat,
                           .pread = ::pread,
                           .fadvise = ::posix_fadvise,
                           .cached_pages = cached_pages,
                           .pwrite = ::pwrite,
                           .fdatasync = ::fdatasync,
                           .fsync = ::fsync,
                           .renameat = ::renameat,
                           .linkat = ::linkat,
                           .unlinkat = ::unlinkat,
                           .mkdirat = ::mkdirat,
                           .lock = lock_range,
                           .fdopendir = ::fdopendir,
                           .readdir = ::readdir,
                           .closedir = ::closedir,
                           .madvise = ::madvise,
                           .sched_setscheduler = ::sched_setscheduler,
                           .ioprio_set = set_io_priority};
  return table;
}

}  // namespace ckpt::store
