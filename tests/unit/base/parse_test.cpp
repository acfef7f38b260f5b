#include "base/parse.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>

namespace ckpt {
namespace {

TEST(ParseUnsigned, ReadsWholeNumbers) {
  EXPECT_EQ(parse_unsigned("0"), 0U);
  EXPECT_EQ(parse_unsigned("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(parse_unsigned("7fff0000", 16), 0x7fff0000U);
}

TEST(ParseUnsigned, RefusesWhatIsNotOneNumber) {
  for (const char* text : {"", " 1", "1 ", "+1", "-1", "0x10", "1.5", "a", "18446744073709551616"}) {
    EXPECT_EQ(parse_unsigned(text), std::nullopt) << "'" << text << "'";
  }
}

constexpr const char* kStatus =
    "Name:\tcat\nUmask:\t0022\nTracerPid:\t 42 \nVmLck:\t0 kB\nEmpty:\t\nLast:\tend";

TEST(StatusField, FindsAValueAndTrimsIt) {
  EXPECT_EQ(status_field(kStatus, "Name"), "cat");
  EXPECT_EQ(status_field(kStatus, "TracerPid"), "42");
  EXPECT_EQ(status_field(kStatus, "VmLck"), "0 kB");
}

TEST(StatusField, FindsTheLastLineWithoutNewline) { EXPECT_EQ(status_field(kStatus, "Last"), "end"); }

TEST(StatusField, IsEmptyForEmptyAndAbsentFields) {
  EXPECT_EQ(status_field(kStatus, "Empty"), "");
  EXPECT_EQ(status_field(kStatus, "Tracer"), "");
  EXPECT_EQ(status_field(kStatus, "Pid"), "");
  EXPECT_EQ(status_field("", "Name"), "");
}

}  // namespace
}  // namespace ckpt
