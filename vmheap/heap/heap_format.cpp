#include "heap/heap_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kLeastSize = 1ULL << 20;
constexpr std::uint64_t kMostSize = 16ULL << 40;
constexpr std::uint64_t kBaseAlignment = 1ULL << 20;

// Throws Error if there are fewer bytes.
template <typename Record>
Record take(std::span<const std::byte>& bytes, const std::string& where) {
  Record record;
  if (bytes.size() < sizeof record)
    throw Error(fmt::format("{} is not a heap; name the directory of one", where), EINVAL);
  std::memcpy(&record, bytes.data(), sizeof record);
  bytes = bytes.subspan(sizeof record);
  return record;
}

template <typename Record>
void put(std::vector<std::byte>& bytes, const Record& record) {
  std::ranges::copy(std::as_bytes(std::span(&record, 1)), std::back_inserter(bytes));
}

}  // namespace

void check_geometry(const HeapGeometry& geometry) {
  if (geometry.size < kLeastSize || geometry.size > kMostSize || geometry.base % kBaseAlignment != 0) {
    throw Error(
        fmt::format(
            "a heap of {} bytes at {:#x} cannot be; use 1 MiB to 16 TiB, a multiple of the line, at a "
            "multiple of 1 MiB",
            geometry.size, geometry.base),
        EINVAL);
  }
  check_regions(geometry.regions, geometry.size);
}

std::vector<std::byte> image_of(const HeapGeometry& geometry) {
  std::vector<std::byte> image;
  const Regions& regions = geometry.regions;
  put(image, GeometryHeader{.base = geometry.base,
                            .size = geometry.size,
                            .line_bytes = regions.front().line_bytes,
                            .more_regions = static_cast<std::uint32_t>(regions.size() - 1)});
  for (std::size_t i = 1; i < regions.size(); ++i)
    put(image, RegionRecord{.begin = regions[i].begin, .line_bytes = regions[i].line_bytes});
  return image;
}

HeapGeometry parse_geometry(std::span<const std::byte> image, const std::string& where) {
  auto header = take<GeometryHeader>(image, where);
  if (header.magic != kHeapMagic || header.more_regions >= kMostRegions)
    throw Error(fmt::format("{} is not a heap; name the directory of one", where), EINVAL);
  HeapGeometry geometry{.base = header.base, .size = header.size, .regions = {}};
  geometry.regions.push_back({.begin = 0, .size = header.size, .line_bytes = header.line_bytes});
  for (std::uint32_t i = 0; i < header.more_regions; ++i) {
    auto record = take<RegionRecord>(image, where);
    HeapRegion& before = geometry.regions.back();
    // What is out of order is found by check_geometry().
    before.size = record.begin - before.begin;
    geometry.regions.push_back(
        {.begin = record.begin, .size = header.size - record.begin, .line_bytes = record.line_bytes});
  }
  check_geometry(geometry);
  return geometry;
}

}  // namespace ckpt::vmheap
