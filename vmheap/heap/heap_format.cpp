#include "heap/heap_format.h"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kLeastSize = 1ULL << 20;
constexpr std::uint64_t kMostSize = 16ULL << 40;
constexpr std::uint32_t kLeastLine = 4096;
constexpr std::uint32_t kMostLine = 1U << 20;

}  // namespace

bool is_heap_image(std::span<const std::byte> image) {
  return image.size() == sizeof(HeapGeometry) &&
         std::memcmp(image.data(), kHeapMagic.data(), kHeapMagic.size()) == 0;
}

void check_geometry(const HeapGeometry& geometry) {
  if (!std::has_single_bit(geometry.line_bytes) || geometry.line_bytes < kLeastLine ||
      geometry.line_bytes > kMostLine) {
    throw Error(fmt::format("a line of {} bytes cannot be; use a power of two from 4096 to 1048576",
                            geometry.line_bytes),
                EINVAL);
  }
  if (geometry.size < kLeastSize || geometry.size > kMostSize || geometry.size % geometry.line_bytes != 0 ||
      geometry.base % kMostLine != 0) {
    throw Error(
        fmt::format(
            "a heap of {} bytes at {:#x} cannot be; use 1 MiB to 16 TiB, a multiple of the line, at a "
            "multiple of 1 MiB",
            geometry.size, geometry.base),
        EINVAL);
  }
}

HeapGeometry parse_geometry(std::span<const std::byte> image, const std::string& where) {
  if (!is_heap_image(image))
    throw Error(fmt::format("{} is not a heap; name the directory of one", where), EINVAL);
  HeapGeometry geometry;
  std::memcpy(&geometry, image.data(), sizeof geometry);
  check_geometry(geometry);
  return geometry;
}

}  // namespace ckpt::vmheap
