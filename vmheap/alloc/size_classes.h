// Sizes of small objects: 16-byte steps up to 128, then four per doubling, up to 8 KiB.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "alloc/heap_layout.h"

namespace ckpt::vmheap {

inline constexpr std::size_t kMostSmallBytes = 8192;

constexpr std::uint32_t class_bytes(std::size_t size_class) {
  if (size_class < 8) return static_cast<std::uint32_t>(16 * (size_class + 1));
  std::size_t doubling = (size_class - 8) / 4;
  std::size_t quarter = (size_class - 8) % 4 + 1;
  return static_cast<std::uint32_t>((128U << doubling) + quarter * (32U << doubling));
}

// The class of the smallest objects that hold `size` bytes (1 to kMostSmallBytes).
constexpr std::size_t class_of(std::size_t size) {
  if (size <= 128) return (size + 15) / 16 - 1;
  auto doubling = static_cast<std::size_t>(std::bit_width(size - 1)) - 8;
  return 8 + 4 * doubling + (size - 1 - (128ULL << doubling)) / (32ULL << doubling);
}
static_assert(class_of(1) == 0 && class_of(128) == 7 && class_of(129) == 8 && class_bytes(8) == 160);
static_assert(class_of(256) == 11 && class_bytes(11) == 256 && class_of(257) == 12 && class_bytes(12) == 320);
static_assert(class_of(kMostSmallBytes) == kClasses - 1 && class_bytes(kClasses - 1) == kMostSmallBytes);

// Objects of a power of two are aligned to their size (at most a page).
constexpr std::uint32_t data_offset_of(std::uint32_t object_bytes) {
  std::uint32_t alignment = object_bytes & (~object_bytes + 1);
  return std::clamp<std::uint32_t>(alignment, sizeof(SpanHeader), 4096);
}

}  // namespace ckpt::vmheap
