#include "engine/restore/address_space.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "restore/checkpoint_support.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kCodeBytes = 5000;
constexpr std::uint64_t kEndOfUserSpace = 0x7ffffffff000;

MapEntry present(std::uint64_t start, std::uint64_t end, const std::string& path = {}) {
  MapEntry entry;
  entry.start = start;
  entry.end = end;
  entry.path = path;
  return entry;
}

void expect_apart(const WorkArea& area, std::uint64_t start, std::uint64_t end) {
  EXPECT_TRUE(area.end().value <= start || end <= area.start.value)
      << std::hex << area.start.value << "-" << area.end().value << " and " << start << "-" << end;
}

void expect_apart_from_all(const WorkArea& area, const image::CheckpointT& checkpoint,
                           const std::vector<MapEntry>& entries) {
  for (const MapEntry& entry : entries) expect_apart(area, entry.start, entry.end);
  for (const auto& mapping : checkpoint.process->mappings) expect_apart(area, mapping->start, mapping->end);
}

TEST(WorkArea, LiesBetweenPresentAndWantedMappings) {
  // Both leave holes, but only one in the same place.
  std::vector<MapEntry> entries{present(0x1000, 0x10'0000'0000), present(0x30'0000'0000, kEndOfUserSpace)};
  image::CheckpointT checkpoint = empty_checkpoint();
  add_mapping(checkpoint, image::MappingKind::Anonymous, 0x10'0000'0000, 0x20'0000'0000);
  WorkArea area = choose_work_area(checkpoint, entries, kCodeBytes);
  expect_apart_from_all(area, checkpoint, entries);
  EXPECT_GT(area.start.value, 0x20'0000'0000U);
  EXPECT_LT(area.end().value, 0x30'0000'0000U);
}

TEST(WorkArea, LeavesAloneWhatThisProcessHas) {
  std::vector<MapEntry> entries = read_memory_map(::getpid());
  image::CheckpointT checkpoint = empty_checkpoint();
  for (std::uint64_t at = 1 << 20; at < 1 << 30; at += 16 << 20)
    add_mapping(checkpoint, image::MappingKind::Anonymous, at, at + (1 << 20));
  WorkArea area = choose_work_area(checkpoint, entries, kCodeBytes);
  expect_apart_from_all(area, checkpoint, entries);
  EXPECT_LT(area.end().value, kEndOfUserSpace);
}

TEST(WorkArea, PutsUpWithOverlappingMappings) {
  std::vector<MapEntry> entries{present(0x1000, 0x20'0000'0000)};
  image::CheckpointT checkpoint = empty_checkpoint();
  add_mapping(checkpoint, image::MappingKind::Anonymous, 0x2000, 0x3000);
  WorkArea area = choose_work_area(checkpoint, entries, kCodeBytes);
  expect_apart_from_all(area, checkpoint, entries);
}

TEST(WorkArea, HasRoomForItsParts) {
  image::CheckpointT checkpoint = empty_checkpoint();
  add_object(checkpoint, image::ObjectKind::SharedAnonymous, 10'000);
  add_object(checkpoint, image::ObjectKind::Memfd, 1 << 20);
  add_object(checkpoint, image::ObjectKind::SharedAnonymous, 4096);
  WorkArea area = choose_work_area(checkpoint, {}, kCodeBytes);
  // Ascending, as listed here; the stack grows down from stack_top, below the plan.
  EXPECT_EQ(area.code, area.start);
  EXPECT_EQ(area.code_bytes, 8192U);
  EXPECT_GE(area.stack_top, area.code + area.code_bytes + 4096);
  EXPECT_GE(area.plan, area.stack_top);
  EXPECT_GT(area.parking, area.plan + area.plan_data_offset);
  ASSERT_EQ(area.objects.size(), 3U);
  EXPECT_GT(area.objects[0], area.parking);
  EXPECT_EQ(area.objects[1], RemoteAddr{}) << "a memfd is mapped by its descriptor";
  EXPECT_EQ(area.objects[2], area.objects[0] + 3 * kPageSize);
  EXPECT_LE(area.objects[2] + kPageSize, area.end());
  for (RemoteAddr part : {area.start, area.plan, area.parking, area.objects[0], area.end()})
    EXPECT_EQ(part.value % kPageSize, 0U);
}

TEST(WorkArea, GrowsWithTheNumberOfMappings) {
  image::CheckpointT checkpoint = empty_checkpoint();
  WorkArea small = choose_work_area(checkpoint, {}, kCodeBytes);
  for (std::uint64_t i = 1; i <= 1000; ++i)
    add_mapping(checkpoint, image::MappingKind::Anonymous, i << 21, (i << 21) + kPageSize);
  WorkArea large = choose_work_area(checkpoint, {}, kCodeBytes);
  EXPECT_GT(large.plan_data_offset, small.plan_data_offset);
  EXPECT_GT(large.size_bytes, small.size_bytes);
}

TEST(WorkArea, WithoutAHoleIsAnError) {
  image::CheckpointT checkpoint = empty_checkpoint();
  std::vector<MapEntry> entries;
  // Holes that are all too small.
  for (std::uint64_t at = 0x1000; at < kEndOfUserSpace; at += 1ULL << 40)
    entries.push_back(present(at, std::min<std::uint64_t>(at + (1ULL << 40) - (1 << 20), kEndOfUserSpace)));
  EXPECT_THROW(choose_work_area(checkpoint, entries, kCodeBytes), Error);
}

TEST(WorkArea, IsNeverInTheKernelsHalf) {
  image::CheckpointT checkpoint = empty_checkpoint();
  std::vector<MapEntry> entries{present(0x1000, kEndOfUserSpace),
                                present(0xffffffffff600000, 0xffffffffff601000, "[vsyscall]")};
  EXPECT_THROW(choose_work_area(checkpoint, entries, kCodeBytes), Error);
}

TEST(DistantPlace, IsInTheMiddleOfTheLargestHole) {
  image::CheckpointT checkpoint = empty_checkpoint();
  add_mapping(checkpoint, image::MappingKind::Anonymous, 0x1000000, 0x2000000);
  WorkArea area;
  area.start = RemoteAddr{0x3000000};
  area.size_bytes = 0x1000000;
  std::uint64_t place = choose_distant_place(checkpoint, {}, area, 0x8000);
  EXPECT_GT(place, 0x100000000U);
  EXPECT_LT(place, 0x7ffff0000000U);
  EXPECT_EQ(place % kPageSize, 0U);
}

}  // namespace
}  // namespace ckpt::engine
