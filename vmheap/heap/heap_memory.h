// The memory of a heap: one memfd as long as the heap, sparse, mapped twice.
//
//   view    at the heap's own address, for the program; its faults go to the pager
//   alias   anywhere, for the pager's own reading and writing, which must not fault
//
// A forked child has neither: it must not use the heap.
//
// A line's frame is the memfd's pages of that line: filling the alias makes it, free_frames() gives it back
// to the system.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/unique_fd.h"
#include "heap/userfault.h"

namespace ckpt::vmheap {

class HeapMemory {
 public:
  // `base` 0: a free address that is unlikely to be taken in any later process either. Throws Error (EEXIST)
  // if the addresses are taken.
  HeapMemory(std::uint64_t base, std::uint64_t size, bool writable);
  ~HeapMemory();
  HeapMemory(const HeapMemory&) = delete;
  HeapMemory& operator=(const HeapMemory&) = delete;

  std::uint64_t base() const { return base_; }
  std::uint64_t size() const { return size_; }
  ByteRange view(std::uint64_t offset, std::uint64_t size) const {
    return {.begin = base_ + offset, .size = size};
  }
  std::span<std::byte> alias(std::uint64_t offset, std::uint64_t size) const {
    return {alias_ + offset, size};
  }

  // In a process that was recovered, where something else is in their place: view and alias, empty.
  void map_again();
  int number() const { return fd_.get(); }
  ByteRange alias_range() const {
    return {.begin = reinterpret_cast<std::uint64_t>(alias_), .size = alias_size_};
  }

  // Makes the heap longer; throws Error if the addresses behind it are taken. The new part of the view must
  // be watched.
  void grow(std::uint64_t size);
  void make_frames(std::uint64_t offset, std::uint64_t size);  // fresh ones are zero
  void free_frames(std::uint64_t offset, std::uint64_t size);  // the view loses them too
  // The next access to the view faults, whether there is a frame or not.
  void unmap_view(std::uint64_t offset, std::uint64_t size);

 private:
  void map_view(std::uint64_t base, std::uint64_t offset, std::uint64_t size) const;
  std::uint64_t choose_base(std::uint64_t size) const;
  void map_alias();

  UniqueFd fd_;
  int protection_;
  std::uint64_t base_ = 0;
  std::atomic<std::uint64_t> size_ = 0;  // read by anybody at any time
  std::byte* alias_ = nullptr;
  std::uint64_t alias_size_ = 0;
};

}  // namespace ckpt::vmheap
