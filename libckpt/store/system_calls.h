// Every system call of the store goes through this table, so that tests can make each of them fail
// (the idea of SQLite's os_unix.c). The members have the signatures and results of the calls they are named
// after.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace ckpt::store {

struct SystemCalls {
  int (*openat)(int directory, const char* path, int flags, mode_t mode);
  int (*close)(int fd);
  int (*fstat)(int fd, struct stat* status);
  int (*fstatat)(int directory, const char* path, struct stat* status, int flags);
  ssize_t (*pread)(int fd, void* bytes, std::size_t size, off_t offset);
  int (*fadvise)(int fd, off_t offset, off_t size, int advice);  // posix_fadvise: returns the errno
  // cachestat(2), Linux 6.5: how many pages of the range the page cache holds; -1 with errno
  std::int64_t (*cached_pages)(int fd, std::uint64_t offset, std::uint64_t size);
  ssize_t (*pwrite)(int fd, const void* bytes, std::size_t size, off_t offset);
  int (*fdatasync)(int fd);
  int (*fsync)(int fd);
  int (*renameat)(int old_directory, const char* old_path, int new_directory, const char* new_path);
  int (*linkat)(int old_directory, const char* old_path, int new_directory, const char* new_path, int flags);
  int (*unlinkat)(int directory, const char* path, int flags);
  int (*mkdirat)(int directory, const char* path, mode_t mode);
  int (*lock)(int fd, int command, struct flock* range);  // fcntl
  DIR* (*fdopendir)(int fd);
  dirent* (*readdir)(DIR* directory);
  int (*closedir)(DIR* directory);
  int (*madvise)(void* address, std::size_t size, int advice);
  int (*sched_setscheduler)(pid_t thread, int policy, const sched_param* parameters);
  int (*ioprio_set)(pid_t thread, int priority);  // ioprio_set(2) with IOPRIO_WHO_PROCESS
};

// The table in use. Only tests replace members, while no other thread uses the store.
SystemCalls& system_calls();

}  // namespace ckpt::store
