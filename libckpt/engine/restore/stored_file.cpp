#include "engine/restore/stored_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/object_content.h"

namespace ckpt::engine {
namespace {

// As they were; to whom only root can give them away, so that for others a change of the owner is no error.
void restore_access(int fd, const image::FileAccessT& access, const std::string& path) {
  if (::fchown(fd, access.uid, access.gid) != 0 && errno != EPERM && errno != EINVAL)
    throw_errno(fmt::format("give {} its owner", path));
  if (::fchmod(fd, access.mode) != 0) throw_errno(fmt::format("give {} its permissions", path));
}

void make_directory(const std::filesystem::path& path, const image::FileAccessT* access) {
  std::filesystem::create_directories(path.parent_path());
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) return;
    throw_errno(fmt::format("make directory {}", path.string()));
  }
  UniqueFd fd = open_or_throw(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (access != nullptr) restore_access(fd.get(), *access, path);
}

void write_content(int fd, const StoredFile& file, const store::CheckpointReader& reader) {
  if (::ftruncate(fd, static_cast<off_t>(file.size)) != 0) throw_errno(fmt::format("make {}", file.path));
  for_each_piece({.space = file.space, .size = file.size, .name = file.path}, reader,
                 [&](std::span<const std::byte> piece, std::uint64_t offset) {
                   pwrite_all(fd, piece, offset, file.path);
                 });
}

}  // namespace

// Under another name first: half a file must never be taken for the program's.
void make_file(const StoredFile& file, const store::CheckpointReader& reader) {
  make_directory(std::filesystem::path(file.path).parent_path(), file.directory_access);
  std::string unfinished = file.path + ".ckpt-unfinished";
  ::unlink(unfinished.c_str());
  UniqueFd fd = open_or_throw(unfinished, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  try {
    write_content(fd.get(), file, reader);
    if (file.access != nullptr) restore_access(fd.get(), *file.access, file.path);
    if (::rename(unfinished.c_str(), file.path.c_str()) != 0) throw_errno(fmt::format("make {}", file.path));
  } catch (...) {
    ::unlink(unfinished.c_str());
    throw;
  }
}

void put_content_back(const StoredFile& file, const store::CheckpointReader& reader) {
  UniqueFd fd = open_or_throw(file.path, O_RDWR | O_NOFOLLOW);
  // What the store does not have is zeroes.
  if (::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(file.size)) !=
      0)
    throw_errno(fmt::format("empty {}", file.path));
  write_content(fd.get(), file, reader);
}

}  // namespace ckpt::engine
