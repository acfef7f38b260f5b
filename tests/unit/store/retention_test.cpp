#include "store/retention.h"

#include <gtest/gtest.h>

#include <chrono>

namespace ckpt::store {
namespace {

using std::chrono::hours;

// Version i + 1 is made at the i-th of these hours since 1970, by run "now" unless told otherwise.
std::vector<VersionDescription> made_at(const std::vector<int>& times) {
  std::vector<VersionDescription> versions;
  for (int time : times) {
    VersionDescription version;
    version.version = versions.size() + 1;
    version.run_id = "now";
    version.created_realtime_ns = std::chrono::nanoseconds(hours(time)).count();
    versions.push_back(version);
  }
  return versions;
}

TEST(Retention, NewestStay) {
  EXPECT_EQ(superseded(made_at({1, 1, 1, 1}), {}, {.last = 2}, "now"), (std::vector<Version>{1, 2}));
  EXPECT_EQ(superseded({}, {}, {.last = 2}, "now"), std::vector<Version>{});
}

TEST(Retention, LastOfEveryEarlierRunStays) {
  auto versions = made_at({1, 1, 1, 1});
  versions[0].run_id = versions[1].run_id = "before";
  EXPECT_EQ(superseded(versions, {}, {.last = 1}, "now"), (std::vector<Version>{1, 3}));
}

TEST(Retention, TaggedStays) {
  EXPECT_EQ(superseded(made_at({1, 1, 1, 1}), {2}, {.last = 1}, "now"), (std::vector<Version>{1, 3}));
}

TEST(Retention, NewestOfEachOfTheLastHoursStays) {
  EXPECT_EQ(superseded(made_at({5, 7, 7, 8, 8, 8}), {}, {.last = 1, .hourly = 2}, "now"),
            (std::vector<Version>{1, 2, 4, 5}));
}

TEST(Retention, HoursWithoutAVersionDoNotCount) {
  EXPECT_EQ(superseded(made_at({5, 5, 700, 9000}), {}, {.last = 1, .hourly = 3}, "now"),
            (std::vector<Version>{1}));
}

TEST(Retention, DaysWeeksAndMonthsAreThoseOfTheCalendar) {
  constexpr int kDay = 24;
  // 1970-01-01 was a Thursday: day 4 is a Monday, day 31 the first of February.
  auto versions = made_at({0, kDay - 1, 3 * kDay, 4 * kDay, 30 * kDay, 31 * kDay});
  EXPECT_EQ(superseded(versions, {}, {.last = 1, .daily = 6}, "now"), (std::vector<Version>{1}));
  EXPECT_EQ(superseded(versions, {}, {.last = 1, .weekly = 3}, "now"), (std::vector<Version>{1, 2, 5}));
  EXPECT_EQ(superseded(versions, {}, {.last = 1, .monthly = 2}, "now"), (std::vector<Version>{1, 2, 3, 4}));
}

TEST(Retention, RulesAddUp) {
  constexpr int kDay = 24;
  auto versions = made_at({0, 1, 2, kDay, kDay + 1, kDay + 1});
  EXPECT_EQ(superseded(versions, {}, {.last = 2, .hourly = 2, .daily = 2}, "now"),
            (std::vector<Version>{1, 2}));
}

}  // namespace
}  // namespace ckpt::store
