#include "engine/restore/address_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kLowest = 1 << 20;         // above any sensible vm.mmap_min_addr
constexpr std::uint64_t kEnd = 0x7ffffffff000ULL;  // of what a program may use
constexpr std::uint64_t kHighest = kEnd - (1 << 20);
constexpr std::uint64_t kGuard = 1 << 20;  // distance to neighbours: a stack below must not notice us
constexpr std::uint64_t kStackBytes = 64 << 10;
constexpr std::uint64_t kParkingBytes = 1 << 20;
constexpr std::uint64_t kOperationsPerMapping = 16;
constexpr std::uint64_t kBytesPerOperation = 128;  // the operation itself and some slack
constexpr std::uint64_t kDataBytesPerMapping = 1024;
constexpr std::uint64_t kFixedPlanBytes = 4 << 20;
constexpr std::uint64_t kBytesPerSignal = 256;

using Interval = std::pair<std::uint64_t, std::uint64_t>;

std::vector<Interval> taken(const image::CheckpointT& checkpoint, const std::vector<MapEntry>& present) {
  std::vector<Interval> intervals;
  intervals.reserve(present.size() + checkpoint.process->mappings.size());
  for (const MapEntry& entry : present) intervals.emplace_back(entry.start, entry.end);
  for (const auto& mapping : checkpoint.process->mappings)
    intervals.emplace_back(mapping->start, mapping->end);
  std::ranges::sort(intervals);
  return intervals;
}

RemoteAddr find_hole(const std::vector<Interval>& intervals, std::uint64_t size_bytes) {
  std::uint64_t at = kLowest;
  for (const Interval& interval : intervals) {
    std::uint64_t end = std::min(interval.first, kHighest);  // [vsyscall] is far above it
    if (end > at && end - at >= size_bytes + 2 * kGuard) return RemoteAddr{at + kGuard};
    at = std::max(at, interval.second);
  }
  if (at < kHighest && kHighest - at >= size_bytes + 2 * kGuard) return RemoteAddr{at + kGuard};
  throw Error(
      fmt::format("the program's address space has no hole of {} bytes to rebuild it from", size_bytes));
}

std::uint64_t count_signals(const image::ProcessT& process) {
  std::uint64_t count = process.pending.size();
  for (const auto& thread : process.threads) count += thread->pending.size();
  return count;
}

std::uint64_t count_others(const image::ProcessT& process) {
  return process.threads.size() + process.descriptors.size() + count_signals(process);
}

}  // namespace

std::uint64_t choose_distant_place(const image::CheckpointT& checkpoint, const std::vector<MapEntry>& present,
                                   const WorkArea& area, std::uint64_t size_bytes) {
  std::vector<Interval> intervals = taken(checkpoint, present);
  intervals.emplace_back(area.start.value, area.end().value);
  intervals.emplace_back(kEnd, kEnd);
  std::ranges::sort(intervals);
  std::uint64_t begin = kLowest;
  Interval hole{0, 0};
  for (const auto& [start, end] : intervals) {
    std::uint64_t limit = std::min(start, kEnd);
    if (limit > begin && limit - begin > hole.second - hole.first) hole = {begin, limit};
    begin = std::max(begin, end);
  }
  std::uint64_t hole_bytes = hole.second - hole.first;
  if (hole_bytes < 3 * size_bytes)
    throw Error("the program's address space has no room for another kernel's vDSO");
  return page_ceil(hole.first + hole_bytes / 2);
}

WorkArea choose_work_area(const image::CheckpointT& checkpoint, const std::vector<MapEntry>& present,
                          std::uint64_t code_bytes, std::span<const image::ProcessT* const> forks) {
  std::uint64_t mappings = checkpoint.process->mappings.size() + present.size();
  std::uint64_t others = count_others(*checkpoint.process);
  std::vector<Interval> intervals = taken(checkpoint, present);
  for (const image::ProcessT* fork : forks) {
    // It begins with all that its maker has.
    mappings = std::max(mappings, fork->mappings.size() + checkpoint.process->mappings.size());
    others = std::max(others, count_others(*fork));
    for (const auto& mapping : fork->mappings) intervals.emplace_back(mapping->start, mapping->end);
  }
  std::ranges::sort(intervals);
  std::uint64_t operations_bytes =
      page_ceil((mappings * kOperationsPerMapping + others * 16) * kBytesPerOperation) + kFixedPlanBytes;
  std::uint64_t data_bytes =
      page_ceil(mappings * kDataBytesPerMapping + others * kBytesPerSignal) + kFixedPlanBytes;

  WorkArea area;
  area.code_bytes = page_ceil(code_bytes);
  std::uint64_t objects_bytes = 0;
  for (const auto& object : checkpoint.objects) {
    if (object->kind == image::ObjectKind::SharedAnonymous) objects_bytes += page_ceil(object->size);
  }
  area.size_bytes =
      area.code_bytes + kStackBytes + operations_bytes + data_bytes + kParkingBytes + objects_bytes;
  area.start = find_hole(intervals, area.size_bytes);
  area.code = area.start;
  area.stack_top = area.code + area.code_bytes + kStackBytes;
  area.plan = area.stack_top;
  area.plan_data_offset = operations_bytes;
  area.parking = area.plan + operations_bytes + data_bytes;
  RemoteAddr next = area.parking + kParkingBytes;
  for (const auto& object : checkpoint.objects) {
    bool anonymous = object->kind == image::ObjectKind::SharedAnonymous;
    area.objects.push_back(anonymous ? next : RemoteAddr{});
    if (anonymous) next = next + page_ceil(object->size);
  }
  return area;
}

}  // namespace ckpt::engine
