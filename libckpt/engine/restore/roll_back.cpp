#include "engine/restore/roll_back.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/file_io.h"
#include "base/remote_addr.h"
#include "base/unique_fd.h"
#include "engine/resource/object_content.h"
#include "engine/restore/stored_file.h"

namespace ckpt::engine {
namespace {

using image::WrittenFileT;

constexpr std::int64_t kNanoseconds = 1'000'000'000;

std::uint64_t size_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_errno(fmt::format("examine {}", path));
  if (!S_ISREG(status.st_mode))
    throw Error(fmt::format("{} is no longer a regular file; put it back as it was", path));
  return static_cast<std::uint64_t>(status.st_size);
}

void copy_bytes(int from, int to, std::uint64_t start, std::uint64_t end, const std::string& path) {
  std::vector<std::byte> buffer(kChunkBytes);
  for (std::uint64_t at = start; at < end;) {
    std::span<std::byte> part(buffer.data(), std::min<std::uint64_t>(buffer.size(), end - at));
    pread_exactly(from, part, at, path);
    pwrite_all(to, part, at - start, path);
    at += part.size();
  }
}

void sync(int fd, const std::string& path) {
  if (::fsync(fd) != 0 && errno != EINVAL) throw_errno(fmt::format("sync {}", path));
}

void sync_directory_of(const std::filesystem::path& path) {
  UniqueFd directory = open_or_throw(path.parent_path(), O_RDONLY | O_DIRECTORY);
  sync(directory.get(), path.parent_path());
}

class FileRollBack {
 public:
  FileRollBack(const WrittenFileT& file, const store::CheckpointReader& reader,
               const std::string& version_name, std::vector<std::string>& lines)
      : file_(file), reader_(reader), version_name_(version_name), lines_(lines), path_(file.path) {}

  void run() {
    UniqueFd fd(::open(file_.path.c_str(), O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && errno != ENOENT) throw_errno(fmt::format("open {} to put it back as it was", file_.path));
    if (!fd) {
      make_again();
    } else if (file_.appended) {
      cut_off(fd.get());
    } else {
      put_back(fd.get());
    }
    if (!file_.appended) move_newer_siblings();
  }

 private:
  std::string aside(const std::string& name) const {
    std::string base = path_.parent_path() / fmt::format("{}-replaced.{}", version_name_, name);
    std::string candidate = base;
    struct stat status {};
    for (int number = 2; ::lstat(candidate.c_str(), &status) == 0; ++number)
      candidate = fmt::format("{}.{}", base, number);
    return candidate;
  }

  // Bytes from `start` on, in a file of their own.
  std::string keep_aside(int fd, std::uint64_t start, std::uint64_t end) {
    std::string name = aside(path_.filename());
    UniqueFd copy = open_or_throw(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (start != 0 || ::ioctl(copy.get(), FICLONE, fd) != 0) copy_bytes(fd, copy.get(), start, end, name);
    sync(copy.get(), name);
    sync_directory_of(path_);
    return name;
  }

  void make_again() {
    if (file_.appended && file_.size > 0) {
      throw Error(fmt::format(
          "{} is gone, and as a file that is only appended to it is not part of the checkpoint; put "
          "it back, or recover with --files keep",
          file_.path));
    }
    make_file({.path = file_.path,
               .size = file_.size,
               .space = file_.space,
               .access = file_.access.get(),
               .directory_access = file_.directory_access.get()},
              reader_);
    lines_.push_back(fmt::format("{} was made again as it was at {}", file_.path, version_name_));
  }

  void cut_off(int fd) {
    std::uint64_t size = size_of(fd, file_.path);
    if (size < file_.size) {
      throw Error(fmt::format(
          "{} has {} bytes, {} at the checkpoint, and as a file that is only appended to it is not "
          "part of that; put it back, or recover with --files keep",
          file_.path, size, file_.size));
    }
    if (size == file_.size) return;
    std::string name = keep_aside(fd, file_.size, size);
    truncate(fd);
    sync(fd, file_.path);
    lines_.push_back(fmt::format("{} was cut off after {} bytes, as it was at {}; what followed is in {}",
                                 file_.path, file_.size, version_name_, name));
  }

  void truncate(int fd) const {
    if (::ftruncate(fd, static_cast<off_t>(file_.size)) != 0)
      throw_errno(fmt::format("give {} its former length", file_.path));
  }

  // The pieces of the content in their order, holes included. `visit` returns false to end it.
  template <typename Visit>
  void each_piece(Visit visit) const {
    static const std::vector<std::byte> kZeroes(kChunkBytes);
    std::uint64_t done = 0;
    bool wanted = true;
    auto zeroes_to = [&](std::uint64_t end) {
      while (wanted && done < end) {
        std::uint64_t size = std::min<std::uint64_t>(kZeroes.size(), end - done);
        wanted = visit(std::span(kZeroes).first(size), done);
        done += size;
      }
    };
    for_each_piece({.space = file_.space, .size = file_.size, .name = file_.path}, reader_,
                   [&](std::span<const std::byte> piece, std::uint64_t offset) {
                     zeroes_to(offset);
                     if (wanted) wanted = visit(piece, offset);
                     done = offset + piece.size();
                   });
    zeroes_to(file_.size);
  }

  bool piece_differs(int fd, std::span<const std::byte> piece, std::uint64_t offset, std::uint64_t size) {
    if (offset + piece.size() > size) return true;
    buffer_.resize(piece.size());
    pread_exactly(fd, buffer_, offset, file_.path);
    return std::memcmp(buffer_.data(), piece.data(), piece.size()) != 0;
  }

  void put_back(int fd) {
    std::uint64_t size = size_of(fd, file_.path);
    bool differs = size != file_.size;
    each_piece([&](std::span<const std::byte> piece, std::uint64_t offset) {
      differs = differs || piece_differs(fd, piece, offset, size);
      return !differs;
    });
    if (!differs) return;
    std::string name = keep_aside(fd, 0, size);
    each_piece([&](std::span<const std::byte> piece, std::uint64_t offset) {
      if (piece_differs(fd, piece, offset, size)) pwrite_all(fd, piece, offset, file_.path);
      return true;
    });
    truncate(fd);
    std::array<timespec, 2> times{};
    times[0].tv_nsec = UTIME_OMIT;
    times[1] = {.tv_sec = file_.mtime_ns / kNanoseconds, .tv_nsec = file_.mtime_ns % kNanoseconds};
    ::futimens(fd, times.data());  // only the owner may
    sync(fd, file_.path);
    lines_.push_back(fmt::format("{} was put back as it was at {}; what it held since is in {}", file_.path,
                                 version_name_, name));
  }

  void move_newer_siblings() {
    std::string own = path_.filename();
    std::vector<std::filesystem::path> newer;
    for (const auto& entry : std::filesystem::directory_iterator(path_.parent_path())) {
      std::string name = entry.path().filename();
      bool is_sibling = name.size() > own.size() && name.starts_with(own) &&
                        std::ranges::find(file_.siblings, name) == file_.siblings.end();
      if (is_sibling) newer.push_back(entry.path());
    }
    for (const std::filesystem::path& path : newer) {
      std::string name = aside(path.filename());
      std::filesystem::rename(path, name);
      lines_.push_back(fmt::format("{} was made after {}; it is now {}", path.string(), version_name_, name));
    }
    if (!newer.empty()) sync_directory_of(path_);
  }

  const WrittenFileT& file_;
  const store::CheckpointReader& reader_;
  const std::string& version_name_;
  std::vector<std::string>& lines_;
  std::filesystem::path path_;
  std::vector<std::byte> buffer_;
};

}  // namespace

std::vector<std::string> roll_back_files(const image::CheckpointT& checkpoint,
                                         const store::CheckpointReader& reader,
                                         const std::string& version_name) {
  std::vector<std::string> lines;
  for (const auto& file : checkpoint.process->written_files)
    FileRollBack(*file, reader, version_name, lines).run();
  return lines;
}

}  // namespace ckpt::engine
