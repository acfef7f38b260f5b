#include "engine/capture/address_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace ckpt::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr AddressRange range(std::uint64_t start, std::uint64_t end) { return {start, end}; }

TEST(AddressRanges, AdjacentOnesBecomeOne) {
  AddressRanges ranges;
  append(ranges, range(1, 3));
  append(ranges, range(3, 5));
  append(ranges, range(7, 8));
  append(ranges, range(9, 9));
  EXPECT_THAT(ranges, ElementsAre(range(1, 5), range(7, 8)));
}

TEST(AddressRanges, NormalizeSortsAndMerges) {
  AddressRanges ranges{range(7, 9), range(1, 4), range(2, 3), range(4, 5), range(8, 12)};
  normalize(ranges);
  EXPECT_THAT(ranges, ElementsAre(range(1, 5), range(7, 12)));
}

TEST(AddressRanges, SliceCutsAtTheWindow) {
  AddressRanges ranges{range(1, 4), range(6, 8), range(10, 14)};
  EXPECT_THAT(slice(ranges, range(3, 11)), ElementsAre(range(3, 4), range(6, 8), range(10, 11)));
  EXPECT_THAT(slice(ranges, range(4, 6)), IsEmpty());
  EXPECT_THAT(slice(ranges, range(20, 30)), IsEmpty());
}

std::set<std::uint64_t> members(const AddressRanges& ranges) {
  std::set<std::uint64_t> result;
  for (const AddressRange& part : ranges) {
    for (std::uint64_t at = part.start; at < part.end; ++at) result.insert(at);
  }
  return result;
}

AddressRanges random_ranges(std::mt19937& random) {
  AddressRanges ranges;
  for (int i = 0; i < 12; ++i) {
    std::uint64_t start = random() % 100;
    ranges.push_back({start, start + random() % 9});
  }
  normalize(ranges);
  return ranges;
}

TEST(AddressRanges, UniteAndIntersectAreThoseOfSets) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    AddressRanges a = random_ranges(random);
    AddressRanges b = random_ranges(random);
    std::set<std::uint64_t> in_a = members(a);
    std::set<std::uint64_t> in_b = members(b);
    std::set<std::uint64_t> either = in_a;
    either.insert(in_b.begin(), in_b.end());
    std::erase_if(in_a, [&](std::uint64_t at) { return !in_b.contains(at); });
    EXPECT_EQ(members(unite(a, b)), either);
    EXPECT_EQ(members(intersect(a, b)), in_a);
    EXPECT_EQ(total_bytes(unite(a, b)), either.size());
  }
}

}  // namespace
}  // namespace ckpt::engine
