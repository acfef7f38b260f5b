#include "store/store_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "store/system_calls.h"

namespace ckpt::store {

Error damaged(const std::string& path, const std::string& what) {
  return Error(fmt::format("{} is damaged: {}; use another version", path, what), EBADMSG);
}

Error write_error(const std::string& attempt, int code) {
  if (code == ENOSPC || code == EDQUOT) {
    return Error(fmt::format("store is full: {}: {}; free space, remove versions or choose another store",
                             attempt, describe_errno(code)),
                 code);
  }
  if (code == EACCES || code == EPERM || code == EROFS) {
    return Error(
        fmt::format("store is not writable: {}: {}; choose another store", attempt, describe_errno(code)),
        code);
  }
  return Error(fmt::format("{}: {}; check the disk or choose another store", attempt, describe_errno(code)),
               code);
}

int open_in(int directory, const std::string& name, int flags, mode_t mode) {
  for (;;) {
    int fd = system_calls().openat(directory, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

void check_private(const struct stat& status, const std::string& path) {
  if (status.st_uid != ::geteuid()) {
    throw Error(fmt::format("{} belongs to user {}, not to user {}; use a store of your own", path,
                            status.st_uid, ::geteuid()));
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw Error(fmt::format("{} is writable by others (mode {:o}); check it and run: chmod go-w {}", path,
                            status.st_mode & 07777U, path));
  }
}

UniqueFd open_private_directory(int parent, const std::string& name, const std::string& path) {
  UniqueFd directory(open_in(parent, name, O_RDONLY | O_DIRECTORY));
  if (!directory && (errno == ELOOP || errno == ENOTDIR)) {
    throw Error(fmt::format("{} is not a directory or is a symbolic link; name the directory itself", path),
                ENOTDIR);
  }
  if (!directory) throw_errno(fmt::format("open directory {}", path));
  struct stat status {};
  if (system_calls().fstat(directory.get(), &status) != 0) throw_errno(fmt::format("fstat {}", path));
  check_private(status, path);
  return directory;
}

void read_exactly(int fd, std::span<std::byte> out, std::uint64_t offset, const std::string& path) {
  while (!out.empty()) {
    ssize_t got = system_calls().pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(fmt::format("read {} at {}", path, offset));
    if (got == 0) throw damaged(path, fmt::format("it ends at byte {}", offset));
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

int write_exactly(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t put = system_calls().pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno;
    if (put == 0) return ENOSPC;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return 0;
}

std::vector<std::string> directory_entries(int directory, const std::string& path) {
  // A descriptor of its own: readdir moves the offset that the description shares.
  UniqueFd own(open_in(directory, ".", O_RDONLY | O_DIRECTORY));
  if (!own) throw_errno(fmt::format("open directory {}", path));
  auto closer = [](DIR* opened) { system_calls().closedir(opened); };
  std::unique_ptr<DIR, decltype(closer)> listing(system_calls().fdopendir(own.get()), closer);
  if (!listing) throw_errno(fmt::format("list {}", path));
  static_cast<void>(own.release());  // closedir closes it
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = system_calls().readdir(listing.get());
    if (entry == nullptr && errno != 0) throw_errno(fmt::format("list {}", path));
    if (entry == nullptr) return names;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
}

void sync_directory(int directory, const std::string& path) {
  if (system_calls().fsync(directory) != 0) throw write_error(fmt::format("fsync directory {}", path), errno);
}

}  // namespace ckpt::store
