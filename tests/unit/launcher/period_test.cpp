#include "launcher/period.h"

#include <gtest/gtest.h>

namespace ckpt::launcher {
namespace {

using namespace std::chrono_literals;
const Period::Clock::time_point kStart{};

TEST(Period, WithoutOneNothingIsEverDue) {
  Period period(std::nullopt, kStart);
  EXPECT_FALSE(period.due(kStart + 1000h));
  period.checkpoint_over(kStart, kStart + 1h);
  EXPECT_FALSE(period.next_due().has_value());
}

TEST(Period, CountsFromTheBeginningOfTheCheckpointBefore) {
  Period period(10s, kStart);
  EXPECT_FALSE(period.due(kStart + 9s));
  EXPECT_TRUE(period.due(kStart + 10s));
  period.checkpoint_over(kStart + 10s, kStart + 13s);
  EXPECT_EQ(period.next_due(), kStart + 20s);
}

TEST(Period, IsStretchedToAMultipleWhenItCannotBeMet) {
  Period period(10s, kStart);
  period.checkpoint_over(kStart + 10s, kStart + 31s);
  EXPECT_EQ(period.next_due(), kStart + 40s);
}

}  // namespace
}  // namespace ckpt::launcher
