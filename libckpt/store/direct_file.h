// Reads a file past the page cache where the file system permits it: cold data comes four times as fast, and
// the page cache stays the program's. What is there already is taken from there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "store/read_buffers.h"

namespace ckpt::store {

// Thread-safe.
class DirectFile {
 public:
  // Below this a read goes through the page cache, which reads ahead.
  static constexpr std::size_t kLeastBytes = 64U << 10;

  // `fd` and `path` must outlive this. The file's size is a multiple of 4096.
  DirectFile(int fd, const std::string& path) : fd_(fd), path_(path) {}

  // Exactly out.size() bytes. Fastest if `out` and `offset` are aligned to 4096.
  void read(std::span<std::byte> out, std::uint64_t offset, ReadBuffers& buffers) const;

 private:
  int direct_fd() const;
  bool is_cached(std::size_t size, std::uint64_t offset) const;
  bool read_aligned(std::span<std::byte> out, std::uint64_t offset) const;
  bool read_through_buffer(std::span<std::byte> out, std::uint64_t offset, ReadBuffers& buffers) const;

  int fd_;
  const std::string& path_;
  mutable std::mutex mutex_;
  mutable UniqueFd direct_;  // opened when it is needed first
  mutable bool refused_ = false;
};

}  // namespace ckpt::store
