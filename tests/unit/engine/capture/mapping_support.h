// Memory of this process for tests to look at from outside.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "base/remote_addr.h"
#include "engine/capture/memory_map.h"

namespace ckpt::engine {

class TestMapping {
 public:
  static constexpr int kPrivateMemory = MAP_PRIVATE | MAP_ANONYMOUS;

  explicit TestMapping(std::size_t pages, int protection = PROT_READ | PROT_WRITE, int flags = kPrivateMemory,
                       int fd = -1, off_t offset = 0)
      : size_(pages * kPageSize), memory_(::mmap(nullptr, size_, protection, flags, fd, offset)) {
    if (memory_ == MAP_FAILED) throw std::runtime_error("mmap");
    ::madvise(memory_, size_, MADV_NOHUGEPAGE);  // a touched page is to be one page
  }
  ~TestMapping() { ::munmap(memory_, size_); }
  TestMapping(const TestMapping&) = delete;
  TestMapping& operator=(const TestMapping&) = delete;

  volatile char* page(std::size_t index) const {
    return static_cast<volatile char*>(memory_) + index * kPageSize;
  }
  void* memory() const { return memory_; }
  std::size_t size_bytes() const { return size_; }
  std::uint64_t start() const { return reinterpret_cast<std::uintptr_t>(memory_); }
  std::uint64_t end() const { return start() + size_; }

 private:
  std::size_t size_;
  void* memory_;
};

// The entry that contains `address`. Throws std::runtime_error if there is none.
inline const MapEntry& entry_at(const std::vector<MapEntry>& maps, std::uint64_t address) {
  for (const MapEntry& entry : maps) {
    if (entry.start <= address && address < entry.end) return entry;
  }
  throw std::runtime_error("no mapping there");
}

}  // namespace ckpt::engine
