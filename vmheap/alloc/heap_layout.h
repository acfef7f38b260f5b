// What the first bytes of a heap hold: the allocator's state and the named roots. They are heap memory like
// all other, so a commit makes them durable together with what they describe. Little-endian, stored as they
// are in memory; a heap of another format is refused.
//
//   Superblock   offset 0, kSuperblockBytes
//   span map     offset kSuperblockBytes: one SpanUse byte for each span of the longest heap that this one
//   can grow to spans        kSpanBytes each, at multiples of it; those that superblock and map cover are
//   kSpanReserved
//
// A span is one of: free; a slab of objects of one size class, SpanHeader first; the first of a run of spans
// that hold one large object, SpanHeader first; a later one of such a run. An object's header is found by
// rounding its address down. All links are offsets in the heap; 0 is "none", since the superblock is there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ckpt::vmheap {

inline constexpr std::array<char, 8> kSuperblockMagic{'V', 'M', 'A', 'L', 'L', 'O', 'C', '1'};
inline constexpr std::uint64_t kSpanBytes = 64U << 10;
inline constexpr std::size_t kArenas = 8;
inline constexpr std::size_t kClasses = 32;
inline constexpr std::size_t kRoots = 256;
inline constexpr std::size_t kRootNameBytes = 56;  // the last one is zero
inline constexpr std::uint64_t kSuperblockBytes = 32U << 10;
inline constexpr std::uint64_t kMostGrowth = 16;  // times the size at creation

enum class SpanUse : std::uint8_t { kFree, kReserved, kSlab, kLarge, kLargeRest };

struct Root {
  std::array<char, kRootNameBytes> name{};  // empty: not used
  std::uint64_t address = 0;
};
static_assert(sizeof(Root) == 64);

// Slabs with free objects, by class: the first of a list through SpanHeader::next.
struct Arena {
  std::array<std::uint64_t, kClasses> partial{};
};

struct Superblock {
  std::array<char, 8> magic{};        // offset 0
  std::uint64_t size = 0;             // offset 8: of the heap, bytes
  std::uint64_t map_bytes = 0;        // offset 16: of the span map
  std::uint64_t next_fit = 0;         // offset 24: span where the next search begins
  std::uint64_t bytes_allocated = 0;  // offset 32: in spans, bytes
  std::array<std::uint64_t, 3> zero{};
  std::array<Arena, kArenas> arenas{};  // offset 64
  std::array<Root, kRoots> roots{};
};
static_assert(offsetof(Superblock, arenas) == 64 && sizeof(Superblock) <= kSuperblockBytes);

struct SpanHeader {
  std::uint32_t size_class = 0;    // offset 0: slab
  std::uint32_t arena = 0;         // offset 4: slab
  std::uint32_t object_bytes = 0;  // offset 8: slab
  std::uint32_t capacity = 0;      // offset 12: slab: objects
  std::uint32_t used = 0;          // offset 16: slab: objects in use
  std::uint32_t fresh = 0;         // offset 20: slab: objects from this one on were never used
  std::uint32_t free_head =
      0;  // offset 24: slab: 1 + index of the first free object; each begins with the next one's
  std::uint32_t data_offset = 0;  // offset 28: of the first object
  std::uint64_t next = 0;         // offset 32: partial slabs of the class
  std::uint64_t previous = 0;     // offset 40
  std::uint64_t span_count = 0;   // offset 48: large
  std::uint64_t zero = 0;         // offset 56
};
static_assert(sizeof(SpanHeader) == 64);

}  // namespace ckpt::vmheap
