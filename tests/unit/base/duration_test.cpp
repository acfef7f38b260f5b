#include "base/duration.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace ckpt {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

TEST(Duration, ReadsEveryUnit) {
  EXPECT_EQ(parse_duration("7ns"), 7ns);
  EXPECT_EQ(parse_duration("100us"), 100us);
  EXPECT_EQ(parse_duration("250ms"), 250ms);
  EXPECT_EQ(parse_duration("60s"), 60s);
  EXPECT_EQ(parse_duration("10m"), 10min);
  EXPECT_EQ(parse_duration("1h"), 1h);
  EXPECT_EQ(parse_duration("2d"), 48h);
}

TEST(Duration, ReadsFractions) {
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("0.25ms"), 250us);
}

class DurationRefusal : public testing::TestWithParam<const char*> {};

TEST_P(DurationRefusal, NamesTheTextAndShowsHowToWriteOne) {
  try {
    parse_duration(GetParam());
    FAIL() << "'" << GetParam() << "' was accepted";
  } catch (const Error& error) {
    std::string message = error.what();
    EXPECT_NE(message.find(std::string("'") + GetParam() + "'"), std::string::npos) << message;
    EXPECT_NE(message.find("250ms"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(Texts, DurationRefusal,
                         testing::Values("", "s", "10", "0s", "-1s", "1 s", "1sec", "1s2", "nan s", "nans",
                                         "infs", "1e30h", "0.1ns", "ten seconds"));

TEST(Duration, IsPrintedInTheLargestExactUnit) {
  EXPECT_EQ(format_duration(250ms), "250ms");
  EXPECT_EQ(format_duration(1500ms), "1500ms");
  EXPECT_EQ(format_duration(60s), "1m");
  EXPECT_EQ(format_duration(90s), "90s");
  EXPECT_EQ(format_duration(24h), "1d");
  EXPECT_EQ(format_duration(nanoseconds(1'000'001)), "1000001ns");
  EXPECT_EQ(format_duration(0s), "0s");
}

TEST(Duration, ReadsBackWhatItPrints) {
  for (nanoseconds value :
       {nanoseconds(1), nanoseconds(999), nanoseconds(50ms), nanoseconds(61s), nanoseconds(25h)}) {
    EXPECT_EQ(parse_duration(format_duration(value)), value);
  }
}

}  // namespace
}  // namespace ckpt
