#include "launcher/memory_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <string>

#include "base/error.h"

namespace ckpt::launcher {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t kMiB = 1U << 20;
const MemoryLimit::Clock::time_point kNow{};

TEST(MemoryLimit, NothingGoesBelowIt) {
  MemoryLimit limit(64 * kMiB);
  EXPECT_FALSE(limit.look(47 * kMiB, kNow));
  EXPECT_EQ(limit.excess(30 * kMiB), 0U);
}

TEST(MemoryLimit, SomethingGoesBeforeItIsReached) {
  MemoryLimit limit(64 * kMiB);
  EXPECT_TRUE(limit.look(60 * kMiB, kNow));
  EXPECT_EQ(limit.excess(60 * kMiB), 20 * kMiB);
  EXPECT_TRUE(limit.has_room(40 * kMiB, kNow));
}

TEST(MemoryLimit, RoomForWhatIsUsedBetweenTwoLooksIsLeft) {
  EXPECT_TRUE(MemoryLimit(64 * kMiB).look(49 * kMiB, kNow));
  EXPECT_FALSE(MemoryLimit(1024 * kMiB).look(890 * kMiB, kNow));
  EXPECT_TRUE(MemoryLimit(1024 * kMiB).look(900 * kMiB, kNow));
}

TEST(MemoryLimit, TheNearerTheSoonerIsTheNextLook) {
  MemoryLimit limit(64 * kMiB);
  limit.look(10 * kMiB, kNow);
  auto far = limit.next_look();
  limit.look(50 * kMiB, kNow);
  EXPECT_LT(limit.next_look(), far);
  EXPECT_GT(limit.next_look(), kNow);
}

TEST(MemoryLimit, WhatIsDoneInVainIsNotRepeatedAtOnce) {
  MemoryLimit limit(64 * kMiB);
  EXPECT_FALSE(limit.has_room(63 * kMiB, kNow));
  EXPECT_GT(limit.next_look(), kNow + 100ms);
}

TEST(MemoryLimit, IsNearFromHalfOfItOn) {
  MemoryLimit limit(64 * kMiB);
  EXPECT_FALSE(limit.is_near(31 * kMiB));
  EXPECT_TRUE(limit.is_near(33 * kMiB));
}

TEST(HeapResident, IsASizeWithAUnitOrNone) {
  EXPECT_EQ(parse_heap_resident("256M"), 256 * kMiB);
  EXPECT_EQ(parse_heap_resident("4G"), 4096 * kMiB);
  EXPECT_EQ(parse_heap_resident("65536K"), 64 * kMiB);
  EXPECT_EQ(parse_heap_resident("16777216"), 16 * kMiB);
  EXPECT_EQ(parse_heap_resident("none"), 0U);
}

TEST(HeapResident, NonsenseAndTooLittleAreRefused) {
  for (const char* text : {"", "M", "12X", "-3M", "1.5G", " 8M", "99999999999G", "18446744073709551616"})
    EXPECT_THROW(parse_heap_resident(text), Error) << text;
  try {
    parse_heap_resident("1M");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("at least 8 MiB"));
  }
}

// Ends the process: a hard limit cannot be raised again. With 0 if the refusal names the limit.
[[noreturn]] void ask_for_more_than_the_hard_limit() {
  rlimit limit{.rlim_cur = 4096 * kMiB, .rlim_max = 4096 * kMiB};
  if (::setrlimit(RLIMIT_DATA, &limit) != 0) std::_Exit(1);
  try {
    parse_heap_size("8G");
  } catch (const Error& error) {
    std::_Exit(std::string(error.what()).find("4294967296 bytes") != std::string::npos ? 0 : 2);
  }
  std::_Exit(3);
}

TEST(HeapSize, IsBoundedByTheHardLimit) {
  EXPECT_EQ(parse_heap_size("64M"), 64 * kMiB);
  for (const char* text : {"", "none", "5X", "1M"}) EXPECT_THROW(parse_heap_size(text), Error) << text;
  EXPECT_EXIT(ask_for_more_than_the_hard_limit(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace ckpt::launcher
