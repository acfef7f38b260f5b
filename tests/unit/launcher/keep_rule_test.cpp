#include "launcher/keep_rule.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace ckpt::launcher {
namespace {

using store::Retention;

TEST(KeepRule, IsANumberOrAList) {
  EXPECT_EQ(parse_keep_rule("5"), Retention{.last = 5});
  EXPECT_EQ(parse_keep_rule("last 5, hourly 24,daily 7"), (Retention{.last = 5, .hourly = 24, .daily = 7}));
  EXPECT_EQ(parse_keep_rule("weekly 4, monthly 12"), (Retention{.last = 1, .weekly = 4, .monthly = 12}));
}

TEST(KeepRule, IsWrittenAsItIsRead) {
  Retention retention{.last = 2, .hourly = 3, .daily = 4, .weekly = 5, .monthly = 6};
  EXPECT_EQ(parse_keep_rule(to_string(retention)), retention);
}

TEST(KeepRule, RefusesWhatItDoesNotUnderstand) {
  for (const char* wrong :
       {"", "0", "-1", "many", "last", "last x", "yearly 2", "last 0", "last 5 hourly 2", "5, 6"})
    EXPECT_THROW(parse_keep_rule(wrong), Error) << wrong;
}

}  // namespace
}  // namespace ckpt::launcher
