// What a version of a heap says about itself besides its pages: the "image" of the version in the store,
// little-endian, stored as it is in memory. A reader refuses every format but its own.
//
//   GeometryHeader   64 bytes
//   RegionRecord     16 bytes for each region after the first, ascending
//
// A heap of one region has no RegionRecord, and is what heaps were before they had regions.
//
// Pages are in space kHeapSpace of the version, by (address - base) / 4096.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "heap/regions.h"
#include "store/checkpoint_store.h"

namespace ckpt::vmheap {

inline constexpr std::array<char, 8> kHeapMagic{'V', 'M', 'H', 'E', 'A', 'P', '1', '\n'};
inline constexpr store::SpaceId kHeapSpace = 1;

struct GeometryHeader {
  std::array<char, 8> magic = kHeapMagic;  // offset 0
  std::uint64_t base = 0;                  // offset 8: address
  std::uint64_t size = 0;                  // offset 16: bytes
  std::uint32_t line_bytes = 0;            // offset 24: of the first region
  std::uint32_t more_regions = 0;          // offset 28: how many follow
  std::array<std::uint64_t, 4> zero{};     // offset 32
};
static_assert(sizeof(GeometryHeader) == 64 && offsetof(GeometryHeader, more_regions) == 28);

struct RegionRecord {
  std::uint64_t begin = 0;  // offset 0: bytes from the heap's begin; the region ends where the next begins
  std::uint32_t line_bytes = 0;  // offset 8
  std::uint32_t zero = 0;        // offset 12
};
static_assert(sizeof(RegionRecord) == 16);

inline constexpr std::size_t kMostImageBytes =
    sizeof(GeometryHeader) + (kMostRegions - 1) * sizeof(RegionRecord);

struct HeapGeometry {
  std::uint64_t base = 0;  // address
  std::uint64_t size = 0;  // bytes
  Regions regions;
};

std::vector<std::byte> image_of(const HeapGeometry& geometry);

// Throws Error if `image` (which may be longer) is not that of a heap; `where` names the version in the
// message.
HeapGeometry parse_geometry(std::span<const std::byte> image, const std::string& where);

// Throws Error if a heap of this size and these lines cannot be.
void check_geometry(const HeapGeometry& geometry);

}  // namespace ckpt::vmheap
