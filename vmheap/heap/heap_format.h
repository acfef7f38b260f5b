// What a version of a heap says about itself besides its pages: the "image" of the version in the store, 64
// bytes, little-endian, stored as they are in memory. A reader refuses every format but its own.
//
// Pages are in space kHeapSpace of the version, by (address - base) / 4096.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "store/checkpoint_store.h"

namespace ckpt::vmheap {

inline constexpr std::array<char, 8> kHeapMagic{'V', 'M', 'H', 'E', 'A', 'P', '1', '\n'};
inline constexpr store::SpaceId kHeapSpace = 1;

struct HeapGeometry {
  std::array<char, 8> magic = kHeapMagic;  // offset 0
  std::uint64_t base = 0;                  // offset 8: address
  std::uint64_t size = 0;                  // offset 16: bytes, a multiple of line_bytes
  std::uint32_t line_bytes = 0;            // offset 24: power of two, 4096 to 1 MiB
  std::uint32_t reserved = 0;              // offset 28
  std::array<std::uint64_t, 4> zero{};     // offset 32
};
static_assert(sizeof(HeapGeometry) == 64 && offsetof(HeapGeometry, line_bytes) == 24);

// Throws Error if `image` is not that of a heap; `where` names the version in the message.
HeapGeometry parse_geometry(std::span<const std::byte> image, const std::string& where);
bool is_heap_image(std::span<const std::byte> image);

// Throws Error if a heap of this size and line size cannot be.
void check_geometry(const HeapGeometry& geometry);

}  // namespace ckpt::vmheap
