#include "launcher/run_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "launcher/process_identity.h"

namespace ckpt::launcher {
namespace {

constexpr const char* kLockFile = "lock";

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

bool still_linked(int directory, int file) {
  struct stat opened {};
  struct stat named {};
  if (::fstat(file, &opened) != 0 || ::fstatat(directory, kLockFile, &named, AT_SYMLINK_NOFOLLOW) != 0)
    return false;
  return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

std::optional<pid_t> holder_of(int file) {
  struct flock lock = whole_file();
  if (::fcntl(file, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
  return lock.l_pid;
}

// True if the process that holds the lock went away, so that trying again makes sense.
bool holder_goes_away(int file) {
  std::optional<pid_t> pid = holder_of(file);
  if (!pid) return true;
  std::optional<ProcessIdentity> identity = identify_process(*pid);
  return !identity || wait_until_gone(*identity);
}

}  // namespace

std::optional<RunLock> RunLock::try_acquire(int directory) {
  for (;;) {
    UniqueFd file(::openat(directory, kLockFile, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) throw_errno("create the lock file of the application; the store must be writable");
    struct flock lock = whole_file();
    if (::fcntl(file.get(), F_SETLK, &lock) == 0) {
      // The application may have been removed, and made again, between open and lock.
      if (still_linked(directory, file.get())) return RunLock(std::move(file));
      continue;
    }
    if (errno != EAGAIN && errno != EACCES && errno != EINTR) throw_errno("lock the application");
    if (!holder_goes_away(file.get())) return std::nullopt;
  }
}

std::optional<pid_t> RunLock::holder(int directory) {
  UniqueFd file(::openat(directory, kLockFile, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return std::nullopt;
  return holder_of(file.get());
}

}  // namespace ckpt::launcher
