// Allocates memory of a heap. All of its state is in the heap itself (heap_layout.h), so it commits and rolls
// back with it; only the locks are outside, because a process that died inside a lock must not leave it
// taken.
//
// Thread-safe. Threads are spread over arenas, each with a lock of its own; an object goes back to the arena
// it came from.
//
// Hard rules:
//   1. Lock order: one arena, then spans. freeze() takes all arenas in order, then spans, then roots.
//   2. The state is consistent whenever no lock is held: a commit holds all of them while it takes its
//   instant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <vector>

#include "alloc/heap_layout.h"

namespace ckpt::vmheap {

class Allocator {
 public:
  // Gives the memory behind a range of the heap (address, bytes) back: it reads as zeroes afterwards.
  using Discard = std::function<void(std::byte* begin, std::uint64_t size)>;
  // Says that all of a range that was never used, or was discarded, is about to be used.
  using Prepare = std::function<void(std::byte* begin, std::uint64_t size)>;

  // `base`: where the heap is. Throws Error if what is there is not an allocator's state.
  Allocator(std::byte* base, std::uint64_t size, Discard discard, Prepare prepare = {});

  // Makes the state of a new heap, whose memory is all zeroes.
  static void format(std::byte* base, std::uint64_t size);
  void grow(std::uint64_t size);

  // nullptr: the heap is full. `alignment`: a power of two up to 4096.
  void* allocate(std::size_t size, std::size_t alignment);
  void deallocate(void* memory);
  std::size_t usable_size(const void* memory) const;

  void* root(std::string_view name) const;
  void set_root(std::string_view name, void* address);

  // No thread is inside the allocator while the result lives.
  std::vector<std::unique_lock<std::mutex>> freeze();

 private:
  Superblock& super() const { return *reinterpret_cast<Superblock*>(base_); }
  SpanUse* map() const { return reinterpret_cast<SpanUse*>(base_ + kSuperblockBytes); }
  SpanHeader& header(std::uint64_t offset) const { return *reinterpret_cast<SpanHeader*>(base_ + offset); }
  std::uint64_t span_of(const void* memory) const;  // offset
  SpanUse checked_use(std::uint64_t offset, const void* memory) const;

  void* allocate_small(std::size_t size_class);
  void* allocate_large(std::size_t size, std::size_t alignment);
  std::uint64_t make_slab(std::uint32_t arena, std::size_t size_class);
  void* take_object(Arena& arena, std::uint64_t slab);
  void free_object(std::uint64_t slab, void* memory);
  void link(Arena& arena, std::uint64_t slab);
  void unlink(Arena& arena, std::uint64_t slab);
  std::uint64_t take_spans(std::uint64_t count, SpanUse first, SpanUse rest);  // offset; 0: none free
  void free_spans(std::uint64_t offset, std::uint64_t count);
  std::uint64_t find_free(std::uint64_t begin, std::uint64_t end, std::uint64_t count) const;
  Root* find_root(std::string_view name) const;

  // Of one arena; two in one cache line would make threads wait that have nothing to do with each other.
  struct alignas(64) ArenaLock {
    std::mutex mutex;
  };

  std::byte* base_;
  Discard discard_;
  Prepare prepare_;
  std::array<ArenaLock, kArenas> arena_locks_;
  std::mutex span_lock_;
  mutable std::mutex root_lock_;
};

}  // namespace ckpt::vmheap
