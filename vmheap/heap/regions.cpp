#include "heap/regions.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/error.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint32_t kLeastLine = 4096;
constexpr std::uint32_t kMostLine = 1U << 20;

std::uint64_t end_of(const HeapRegion& region) { return region.begin + region.size; }

void append(Regions& regions, std::uint64_t begin, std::uint64_t end, std::uint32_t line_bytes) {
  if (begin >= end) return;
  if (!regions.empty() && regions.back().line_bytes == line_bytes) {
    regions.back().size = end - regions.back().begin;
  } else {
    regions.push_back({.begin = begin, .size = end - begin, .line_bytes = line_bytes});
  }
}

void check_line(std::uint32_t line_bytes) {
  if (std::has_single_bit(line_bytes) && line_bytes >= kLeastLine && line_bytes <= kMostLine) return;
  throw Error(
      fmt::format("a line of {} bytes cannot be; use a power of two from 4096 to 1048576", line_bytes),
      EINVAL);
}

}  // namespace

void check_regions(const Regions& regions, std::uint64_t size) {
  if (regions.size() > kMostRegions) {
    throw Error(fmt::format("a heap has no more than {} regions; make some of them alike", kMostRegions),
                EINVAL);
  }
  std::uint64_t end = 0;
  for (const HeapRegion& region : regions) {
    check_line(region.line_bytes);
    bool fits = region.begin == end && region.begin % region.line_bytes == 0 && region.size > 0 &&
                region.size % region.line_bytes == 0;
    if (!fits) {
      throw Error(
          fmt::format("{} bytes of a heap from {} on cannot be lines of {}; a region begins and ends at a "
                      "multiple of its own lines and of its neighbours'",
                      region.size, region.begin, region.line_bytes),
          EINVAL);
    }
    end = end_of(region);
  }
  if (end != size)
    throw Error(fmt::format("regions of {} bytes in a heap of {} cannot be", end, size), EINVAL);
}

Regions replace_region(const Regions& regions, const HeapRegion& region) {
  Regions result;
  for (const HeapRegion& old : regions)
    append(result, old.begin, std::min(end_of(old), region.begin), old.line_bytes);
  append(result, region.begin, end_of(region), region.line_bytes);
  for (const HeapRegion& old : regions)
    append(result, std::max(old.begin, end_of(region)), end_of(old), old.line_bytes);
  return result;
}

Regions extend(const Regions& regions, const Regions& longer) {
  Regions result = regions;
  for (const HeapRegion& region : longer) {
    std::uint64_t end = end_of(result.back());
    std::uint64_t first = (std::max(region.begin, end) + region.line_bytes - 1) / region.line_bytes;
    std::uint64_t begin = std::min(first * region.line_bytes, end_of(region));
    append(result, end, begin, result.back().line_bytes);
    append(result, std::max(begin, end), end_of(region), region.line_bytes);
  }
  return result;
}

}  // namespace ckpt::vmheap
