#include "engine/capture/clock_offsets.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <climits>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "process/traced_child_support.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

constexpr int kNewTime = 0x80;  // CLONE_NEWTIME, Linux 5.6

void write_offsets(const std::string& text) {
  UniqueFd offsets = open_or_throw("/proc/self/timens_offsets", O_WRONLY);
  if (::write(offsets.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw_errno("set clock offsets");
}

void enter_time_namespace() {
  if (::unshare(kNewTime) != 0 && ::unshare(CLONE_NEWUSER | kNewTime) != 0) throw_errno("unshare");
}

TEST(ClockOffsets, AreThoseOfTheNamespaceThatChildrenGet) {
  ClockOffsets found;
  try {
    ChildProgram child([] {
      enter_time_namespace();
      write_offsets("monotonic 1000 5\nboottime 2000 250000000\n");
    });
    found = clock_offsets_of(std::to_string(child.pid()));
  } catch (const std::exception& error) {
    GTEST_SKIP() << "no time namespace here: " << error.what();
  }
  EXPECT_EQ(found.monotonic_ns, 1'000'000'000'005);
  EXPECT_EQ(found.boottime_ns, 2'000'250'000'000);
}

TEST(ClockOffsets, AreNegativeForClocksBehindTheMachines) {
  ClockOffsets found;
  try {
    ChildProgram child([] {
      enter_time_namespace();
      write_offsets("monotonic -2 500000000\n");
    });
    found = clock_offsets_of(std::to_string(child.pid()));
  } catch (const std::exception& error) {
    GTEST_SKIP() << "no time namespace here: " << error.what();
  }
  EXPECT_EQ(found.monotonic_ns, -1'500'000'000);
  EXPECT_EQ(found.boottime_ns, 0);
}

TEST(ClockOffsets, OfAChildAreOursUnlessItHasItsOwn) {
  ChildProgram child([] {});
  EXPECT_EQ(clock_offsets_of(std::to_string(child.pid())), clock_offsets_of("self"));
}

TEST(ClockOffsets, AreZeroWhereThereAreNone) {
  EXPECT_EQ(clock_offsets_of(std::to_string(INT_MAX)), ClockOffsets{});
}

}  // namespace
}  // namespace ckpt::engine
