#include "engine/tracee/scheduler_clock.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "engine/tracee/blocked_calls.h"
#include "supervised_child_support.h"

namespace ckpt::engine {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;

TEST(RunRecord, IsReadFromTheKernelsText) {
  auto record = parse_run_record(
      "cat (6389, #threads: 1)\n"
      "-------------------------------------------------------------------\n"
      "se.exec_start                                :       1162777.057404\n"
      "se.vruntime                                  :           203.980052\n"
      "nr_switches                                  :                    9\n"
      "nr_voluntary_switches                        :                    7\n");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->last_ran, 1162777ms + 57404ns);
  EXPECT_EQ(record->voluntary_switches, 7U);
}

TEST(RunRecord, IsMissingWhereTheKernelDoesNotTell) {
  EXPECT_FALSE(parse_run_record(""));
  EXPECT_FALSE(parse_run_record("se.exec_start : 0.000000\nnr_voluntary_switches : 7\n"));
  EXPECT_FALSE(parse_run_record("se.exec_start : 12\nnr_voluntary_switches : 7\n"));
  EXPECT_FALSE(parse_run_record("se.exec_start : 12.000001\n"));
}

TEST(ProcessorClocks, PutTheAffinityBack) {
  cpu_set_t before;
  cpu_set_t after;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(before), &before), 0);
  {
    ProcessorClocks clocks;
    for (int processor = 0; processor < CPU_COUNT(&before); ++processor) clocks.to_steady(processor, 1ms);
  }
  ASSERT_EQ(::sched_getaffinity(0, sizeof(after), &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST(ProcessorClocks, KnowNothingOfAProcessorThatIsNotThere) {
  ProcessorClocks clocks;
  EXPECT_FALSE(clocks.to_steady(-1, 1ms));
  EXPECT_FALSE(clocks.to_steady(CPU_SETSIZE, 1ms));
}

// A thread that fell asleep on any processor: not before it really did, and not after it was seen asleep.
TEST(BlockedCalls, TellSinceWhenAThreadSleepsWhicheverProcessorItRanOn) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(static_cast<unsigned>(processor), &allowed)) continue;
    ChildInCall child([processor] {
      cpu_set_t only;
      CPU_ZERO(&only);
      CPU_SET(static_cast<unsigned>(processor), &only);
      ::sched_setaffinity(0, sizeof(only), &only);
      timespec time{.tv_sec = 3600, .tv_nsec = 0};
      // The moment before the call, in an argument that the call does not look at.
      return ::syscall(SYS_nanosleep, &time, nullptr, steady_clock::now().time_since_epoch().count());
    });
    child.wait_until_in_call(SYS_nanosleep);
    steady_clock::time_point seen = steady_clock::now();
    EXPECT_FALSE(child.outcome(seen + 100ms));

    BlockedCalls threads(child.pid());
    std::vector<BlockedCall> calls(1);
    ASSERT_EQ(threads.look_at(child.pid(), calls[0]), Whereabouts::kInCall);
    threads.read_history(calls);
    ASSERT_TRUE(calls[0].voluntary_switches);
    nanoseconds began(static_cast<std::int64_t>(calls[0].site.arguments[2]));
    EXPECT_GE(calls[0].since.time_since_epoch(), began);
    EXPECT_LT(calls[0].since, seen + 50ms);
  }
}

}  // namespace
}  // namespace ckpt::engine
