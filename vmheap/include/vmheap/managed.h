// Boost.Interprocess on a heap: what managed_mapped_file users know (named objects, allocators for Boost
// containers, offset_ptr or plain pointers, since a heap is always at the same address), on memory that is
// paged and commits.
//
//   auto heap = Heap::open_or_create("index.heap", {.size = 10ULL << 30});
//   Managed managed(*heap, 8ULL << 30);
//   auto* words = managed.find_or_construct<Words>("words")(managed.get_allocator<Word>());
//   heap->commit();
//
// The segment manager and its names live in the heap, so they commit and roll back with it. It has no lock
// (one that a dead process held would stay taken): one thread at a time, and none during a commit.
//
// Needs Boost.Interprocess (headers only).
#pragma once

#include <boost/interprocess/managed_external_buffer.hpp>
#include <cstddef>

#include "vmheap/heap.h"

namespace ckpt::vmheap {

class Managed : public boost::interprocess::managed_external_buffer {
  using Base = boost::interprocess::managed_external_buffer;

 public:
  static constexpr const char* kRoot = "boost.interprocess";

  // Opens the managed memory of the heap, or makes it, `size` bytes of the heap's. `heap` must outlive this.
  Managed(Heap& heap, std::size_t size) {
    if (void* found = heap.root(kRoot)) {
      Base opened(boost::interprocess::open_only, found, heap.usable_size(found));
      swap(opened);
      return;
    }
    void* memory = heap.allocate(size, kAlignment);
    if (memory == nullptr) throw std::bad_alloc();
    Base made(boost::interprocess::create_only, memory, size);
    swap(made);
    heap.set_root(kRoot, memory);
  }

 private:
  static constexpr std::size_t kAlignment = 4096;
};

}  // namespace ckpt::vmheap
