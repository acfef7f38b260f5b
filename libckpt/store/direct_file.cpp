#include "store/direct_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "store/checkpoint_store.h"
#include "store/segment_format.h"
#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

bool is_aligned(std::span<const std::byte> out, std::uint64_t offset) {
  return reinterpret_cast<std::uintptr_t>(out.data()) % kPageBytes == 0 && out.size() % kPageBytes == 0 &&
         offset % kPageBytes == 0;
}

}  // namespace

int DirectFile::direct_fd() const {
  std::lock_guard lock(mutex_);
  if (!direct_ && !refused_) {
    // By descriptor, since the file may have lost its name; without /proc the page cache serves.
    std::string link = fmt::format("/proc/self/fd/{}", fd_);
    direct_ = UniqueFd(system_calls().openat(AT_FDCWD, link.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC, 0));
    refused_ = !direct_;
  }
  return refused_ ? -1 : direct_.get();
}

bool DirectFile::is_cached(std::size_t size, std::uint64_t offset) const {
  std::uint64_t begin = offset / kPageBytes;
  std::uint64_t end = align_up(offset + size, kPageBytes) / kPageBytes;
  std::int64_t cached = system_calls().cached_pages(fd_, begin * kPageBytes, (end - begin) * kPageBytes);
  return cached == static_cast<std::int64_t>(end - begin);
}

void DirectFile::read(std::span<std::byte> out, std::uint64_t offset, ReadBuffers& buffers) const {
  if (out.size() >= kLeastBytes && !is_cached(out.size(), offset)) {
    if (is_aligned(out, offset) ? read_aligned(out, offset) : read_through_buffer(out, offset, buffers))
      return;
    // All of a large read is requested at once. Advice that fails costs only time.
    system_calls().fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(out.size()),
                           POSIX_FADV_WILLNEED);
  }
  read_exactly(fd_, out, offset, path_);
}

// False if the file system does not take direct reads.
bool DirectFile::read_aligned(std::span<std::byte> out, std::uint64_t offset) const {
  int fd = direct_fd();
  while (fd >= 0 && !out.empty()) {
    ssize_t got = system_calls().pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EINVAL) {
      std::lock_guard lock(mutex_);
      refused_ = true;
      return false;
    }
    if (got < 0) throw_errno(fmt::format("read {} at {}", path_, offset));
    if (got == 0) throw damaged(path_, fmt::format("it ends at byte {}", offset));
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
    // A short read may leave a position at which a direct one cannot go on.
    if (!out.empty() && !is_aligned(out, offset)) return false;
  }
  return fd >= 0;
}

bool DirectFile::read_through_buffer(std::span<std::byte> out, std::uint64_t offset,
                                     ReadBuffers& buffers) const {
  ReadBuffers::Buffer buffer(buffers);
  while (!out.empty()) {
    std::uint64_t begin = offset / kPageBytes * kPageBytes;
    std::uint64_t end = std::min(align_up(offset + out.size(), kPageBytes), begin + ReadBuffers::kBytes);
    if (!read_aligned(buffer.bytes().first(end - begin), begin)) return false;
    std::size_t part = std::min<std::uint64_t>(out.size(), end - offset);
    std::memcpy(out.data(), buffer.bytes().data() + (offset - begin), part);
    out = out.subspan(part);
    offset += part;
  }
  return true;
}

}  // namespace ckpt::store
