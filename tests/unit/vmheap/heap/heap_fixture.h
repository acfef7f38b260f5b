#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "support/temporary_directory.h"
#include "vmheap/heap.h"

namespace ckpt::vmheap {

inline constexpr std::uint64_t kMiB = 1ULL << 20;

class HeapFixture : public ::testing::Test {
 protected:
  std::unique_ptr<Heap> create(std::uint64_t size = 64 * kMiB, std::uint64_t resident = 4 * kMiB,
                               std::uint32_t line = 4096) {
    return Heap::create(path(), {.size = size, .line_bytes = line}, {.resident_limit = resident});
  }
  std::unique_ptr<Heap> open(std::uint64_t resident = 4 * kMiB) {
    return Heap::open(path(), {.resident_limit = resident});
  }
  std::string path() const { return directory_.file("app.heap"); }

 private:
  tests::TemporaryDirectory directory_;
};

// An array in the heap, found again under its name.
inline std::uint64_t* numbers(Heap& heap, const char* name, std::size_t count) {
  if (void* found = heap.root(name)) return static_cast<std::uint64_t*>(found);
  auto* made = static_cast<std::uint64_t*>(heap.allocate(count * sizeof(std::uint64_t)));
  heap.set_root(name, made);
  return made;
}

}  // namespace ckpt::vmheap
