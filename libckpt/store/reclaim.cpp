#include "store/reclaim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "base/error.h"
#include "store/live_pages.h"
#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

constexpr std::size_t kCopyBytes = 1U << 20;
constexpr std::uint64_t kFileBlock = 4096;
constexpr std::uint64_t kStatUnit = 512;  // of st_blocks: stat(2)
constexpr std::uint64_t kWorthWhile = 64U << 10;

struct stat status_of(int fd, const std::string& path) {
  struct stat status {};
  if (system_calls().fstat(fd, &status) != 0) throw_errno(fmt::format("fstat {}", path));
  return status;
}

std::uint64_t allocated_bytes(const struct stat& status) {
  return static_cast<std::uint64_t>(status.st_blocks) * kStatUnit;
}

// In the blocks of a file system.
std::uint64_t needed_bytes(const std::vector<ByteRange>& ranges) {
  std::uint64_t bytes = 0;
  std::uint64_t counted = 0;  // up to here
  for (const ByteRange& range : ranges) {
    std::uint64_t begin = std::max(counted, range.offset / kFileBlock * kFileBlock);
    std::uint64_t end = align_up(range.offset + range.size, kFileBlock);
    if (end > begin) bytes += end - begin;
    counted = std::max(counted, end);
  }
  return bytes;
}

class Copy {
 public:
  Copy(const ApplicationFiles& files, Version version)
      : files_(files), name_(temporary_name(version)), path_(files.path_of(name_)) {
    files_.unlink(name_);  // of one that was interrupted
    fd_ = UniqueFd(open_in(files_.directory(), name_, O_WRONLY | O_CREAT | O_EXCL, 0600));
    if (!fd_) throw write_error(fmt::format("create {}", path_), errno);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  ~Copy() {
    if (!published_) system_calls().unlinkat(files_.directory(), name_.c_str(), 0);
  }

  void fill(int from, const std::string& from_path, const std::vector<ByteRange>& ranges) {
    std::vector<std::byte> buffer(kCopyBytes);
    // The last one first: XFS reserves space behind the end of a file that grows, and a hole that the end
    // then passes keeps it.
    for (auto each = ranges.rbegin(); each != ranges.rend(); ++each) {
      ByteRange range = *each;
      while (range.size > 0) {
        std::span<std::byte> part(buffer.data(), std::min<std::uint64_t>(buffer.size(), range.size));
        read_exactly(from, part, range.offset, from_path);
        if (int error = write_exactly(fd_.get(), part, range.offset); error != 0)
          throw write_error(fmt::format("write {}", path_), error);
        range.offset += part.size();
        range.size -= part.size();
      }
    }
    if (system_calls().fdatasync(fd_.get()) != 0) throw write_error(fmt::format("sync {}", path_), errno);
  }

  std::uint64_t allocated() const { return allocated_bytes(status_of(fd_.get(), path_)); }

  void publish(const std::string& name) {
    if (system_calls().renameat(files_.directory(), name_.c_str(), files_.directory(), name.c_str()) != 0)
      throw write_error(fmt::format("rename {} to {}", path_, name), errno);
    published_ = true;
    files_.sync();
  }

 private:
  const ApplicationFiles& files_;
  std::string name_;
  std::string path_;
  UniqueFd fd_;
  bool published_ = false;
};

void shrink(const ApplicationFiles& files, Version version, const std::vector<bool>& alive,
            Reclaimed& reclaimed) {
  std::string name = dead_name(version);
  std::string path = files.path_of(name);
  UniqueFd fd(open_in(files.directory(), name, O_RDONLY | O_NONBLOCK));
  if (!fd) throw_errno(fmt::format("open {}", path));
  int from = fd.get();
  struct stat status = status_of(from, path);
  // It has another name, in an application that shares it: making it smaller here would free nothing.
  if (status.st_nlink > 1) return;
  Segment segment(std::move(fd), path, version);
  std::vector<ByteRange> ranges = segment.needed_ranges(alive);
  std::uint64_t before = allocated_bytes(status);
  std::uint64_t needed = needed_bytes(ranges);
  // Twice as much is not written as is freed.
  if (before < needed + std::max(kWorthWhile, needed / 2)) return;
  Copy copy(files, version);
  copy.fill(from, path, ranges);
  std::uint64_t after = copy.allocated();
  copy.publish(name);
  ++reclaimed.segments;
  reclaimed.bytes_freed += before - std::min(before, after);
  reclaimed.bytes_written += needed;
}

}  // namespace

Reclaimed reclaim(const ApplicationFiles& files) {
  auto lock = files.lock(ApplicationFiles::Lock::kRemoveDead);
  if (!lock) {
    throw Error(fmt::format("a checkpoint of '{}' is being written; wait for it to end", files.name()),
                EBUSY);
  }
  ApplicationListing listing = files.list();
  Reclaimed reclaimed;
  if (listing.dead.empty()) return reclaimed;
  LivePages alive(listing.dead);
  for (Version version : listing.visible) alive.mark(files.open_version(version));
  for (Version version : listing.dead) shrink(files, version, alive.of(version), reclaimed);
  return reclaimed;
}

}  // namespace ckpt::store
