#include "base/file_io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"

namespace ckpt {

UniqueFd open_or_throw(const std::string& path, int flags, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) throw_errno(fmt::format("open {}", path));
  return fd;
}

std::string read_file(const std::string& path) { return read_file_at(AT_FDCWD, path); }

std::string read_file_at(int directory, const std::string& path) {
  UniqueFd fd(::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw_errno(fmt::format("open {}", path));
  std::string content;
  std::array<char, 16384> buffer;
  for (;;) {
    ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(fmt::format("read {}", path));
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

void pread_exactly(int fd, std::span<std::byte> out, std::uint64_t offset, const std::string& what) {
  while (!out.empty()) {
    ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(fmt::format("read {} at {}", what, offset));
    if (got == 0) throw Error(fmt::format("{} ends at byte {}, more was expected", what, offset));
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

void pwrite_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset, const std::string& what) {
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_errno(fmt::format("write {} at {}", what, offset));
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
}

short poll_now(int fd, short events) {
  pollfd one{.fd = fd, .events = events, .revents = 0};
  if (::poll(&one, 1, 0) < 0) throw_errno("poll a descriptor");
  return one.revents;
}

UniqueFd duplicate(int fd, const std::string& what) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) throw_errno("duplicate " + what);
  return copy;
}

std::string read_link(const std::string& path) { return read_link_at(AT_FDCWD, path); }

std::string read_link_at(int directory, const std::string& path) {
  std::string target(256, '\0');
  for (;;) {
    ssize_t length = ::readlinkat(directory, path.c_str(), target.data(), target.size());
    if (length < 0) throw_errno(fmt::format("readlink {}", path));
    if (static_cast<std::size_t>(length) < target.size()) {
      target.resize(static_cast<std::size_t>(length));
      return target;
    }
    target.resize(target.size() * 2);
  }
}

}  // namespace ckpt
