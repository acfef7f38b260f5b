#include "engine/resource/reopen.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"

namespace ckpt::engine::resource {
namespace {

// F_GETFL also shows O_TMPFILE, O_DIRECTORY and O_NOFOLLOW, which mean something else when opening again.
constexpr int kReopenFlags =
    O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_SYNC | O_DSYNC | O_PATH | O_LARGEFILE;

}  // namespace

std::uint64_t reopen_flags(const image::DescriptionT& description) {
  return description.status_flags & static_cast<unsigned>(kReopenFlags);
}

UniqueFd open_again(const std::string& path, const image::DescriptionT& description, int extra_flags) {
  auto flags = static_cast<int>(reopen_flags(description));
  UniqueFd fd(::open(path.c_str(), flags | extra_flags | O_NOCTTY | O_CLOEXEC));
  if (!fd) throw_errno(fmt::format("open {} again", path));
  return fd;
}

UniqueFd reopen_own(int fd, const image::DescriptionT& description, int extra_flags) {
  return open_again(fmt::format("/proc/self/fd/{}", fd), description, extra_flags);
}

void seek_to_saved_offset(int fd, const image::DescriptionT& description, const std::string& path) {
  if ((description.status_flags & O_PATH) != 0 || description.offset == 0) return;
  if (::lseek(fd, description.offset, SEEK_SET) < 0) {
    throw_errno(fmt::format("seek to byte {} of {}", description.offset, path));
  }
}

int access_error(const std::string& path, int flags) {
  int access = flags & O_ACCMODE;
  int mode = F_OK;
  if ((flags & O_PATH) == 0) {
    if (access != O_WRONLY) mode |= R_OK;
    if (access != O_RDONLY) mode |= W_OK;
  }
  return ::faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) == 0 ? 0 : errno;
}

std::string access_problem(const std::string& path, const image::DescriptionT& description) {
  int error = access_error(path, static_cast<int>(description.status_flags));
  if (error == 0) return {};
  if (error == ENOENT || error == ENOTDIR) return fmt::format("{} is missing", path);
  return fmt::format("{} cannot be opened as before: {}", path, describe_errno(error));
}

}  // namespace ckpt::engine::resource
