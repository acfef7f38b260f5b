#include "base/proc_stat.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace ckpt {
namespace {

TEST(ProcStat, IsReadPastANameWithParentheses) {
  std::optional<ProcStat> stat = ProcStat::parse(
      "12 (a) R (b) c) S 1 12 12 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 3 0 98765 1000 200 "
      "18446744073709551615\n");
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->state(), 'S');
  EXPECT_EQ(stat->flags(), 4194560U);
  EXPECT_EQ(stat->thread_count(), 3);
  EXPECT_EQ(stat->start_time(), 98765);
  EXPECT_EQ(stat->field(24), 200);
  EXPECT_THROW(static_cast<void>(stat->field(26)), Error) << "a field that is not there";
  EXPECT_THROW(static_cast<void>(stat->field(3)), Error) << "a field that is no number";
}

TEST(ProcStat, NonsenseIsNone) {
  EXPECT_FALSE(ProcStat::parse("").has_value());
  EXPECT_FALSE(ProcStat::parse("12 (x) S 1 2").has_value());
}

TEST(ProcStat, TellsOfAProcess) {
  EXPECT_EQ(ProcStat(::getpid()).parent(), ::getppid());
  EXPECT_THROW(ProcStat(-1), Error);
}

}  // namespace
}  // namespace ckpt
