#include "engine/process/timers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "engine/process/process_state.h"
#include "process/traced_child_support.h"

namespace ckpt::engine {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// As the kernel counts them; the C library hides them.
int create_timer(clockid_t clock, int notify, int signal, std::uint64_t value, pid_t tid = 0) {
  struct {
    std::uint64_t value;
    int signal, notify, tid, unused[11];
  } event{value, signal, notify, tid, {}};
  int id = -1;
  if (syscall(SYS_timer_create, clock, &event, &id) != 0) throw std::runtime_error("timer_create");
  return id;
}

void arm(int id, time_t seconds, time_t interval) {
  itimerspec spec{.it_interval = {.tv_sec = interval, .tv_nsec = 0},
                  .it_value = {.tv_sec = seconds, .tv_nsec = 0}};
  if (syscall(SYS_timer_settime, id, 0, &spec, nullptr) != 0) throw std::runtime_error("timer_settime");
}

// A program's own sequence of ids: the gaps come from timers that it has deleted.
void make_example_timers() {
  int first = create_timer(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 0x1122334455667788);
  int drop = create_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  int second = create_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 7);
  int third = create_timer(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN + 2, 9,
                           static_cast<pid_t>(syscall(SYS_gettid)));
  syscall(SYS_timer_delete, drop);
  arm(first, 1000, 5);
  arm(third, 2000, 0);
  (void)second;
}

const image::PosixTimerT& timer(const image::ProcessT& process, int id) {
  for (const auto& one : process.posix_timers) {
    if (one->id == id) return *one;
  }
  throw std::runtime_error("no such timer");
}

std::vector<int> ids(const image::ProcessT& process) {
  std::vector<int> found;
  for (const auto& one : process.posix_timers) found.push_back(one->id);
  return found;
}

void expect_example_timers(const image::ProcessT& process) {
  EXPECT_THAT(ids(process), testing::UnorderedElementsAre(0, 2, 3));
  EXPECT_EQ(timer(process, 0).value, 0x1122334455667788U);
  EXPECT_EQ(timer(process, 0).signal, SIGUSR1);
  EXPECT_EQ(timer(process, 0).notify, SIGEV_SIGNAL);
  EXPECT_EQ(timer(process, 0).clock, CLOCK_REALTIME);
  EXPECT_EQ(timer(process, 0).interval_ns, 5 * kSecond);
  EXPECT_GT(timer(process, 0).value_ns, 0);
  EXPECT_LE(timer(process, 0).value_ns, 1000 * kSecond);
  EXPECT_EQ(timer(process, 2).notify, SIGEV_NONE);
  EXPECT_EQ(timer(process, 2).value_ns, 0);
  EXPECT_EQ(timer(process, 3).notify, SIGEV_SIGNAL | SIGEV_THREAD_ID);
  EXPECT_EQ(timer(process, 3).notify_tid, process.pid);
  EXPECT_GT(timer(process, 3).value_ns, 1000 * kSecond);
}

TEST(IntervalTimers, GoOnWithTheTimeThatWasLeft) {
  ChildProgram child([] {
    itimerval real{.it_interval = {.tv_sec = 7, .tv_usec = 250'000},
                   .it_value = {.tv_sec = 500, .tv_usec = 0}};
    itimerval profile{.it_interval = {}, .it_value = {.tv_sec = 300, .tv_usec = 0}};
    setitimer(ITIMER_REAL, &real, nullptr);
    setitimer(ITIMER_PROF, &profile, nullptr);
  });
  auto saved = save(child.pid());
  auto process = save(rebuild(*saved)->pid());
  ASSERT_EQ(process->interval_timers.size(), 2U);
  EXPECT_EQ(process->interval_timers[0]->which, ITIMER_REAL);
  EXPECT_EQ(process->interval_timers[0]->interval_ns, 7 * kSecond + kSecond / 4);
  EXPECT_LE(process->interval_timers[0]->value_ns, saved->interval_timers[0]->value_ns);
  EXPECT_GT(process->interval_timers[0]->value_ns, 0);
  EXPECT_EQ(process->interval_timers[1]->which, ITIMER_PROF);
  EXPECT_EQ(process->interval_timers[1]->interval_ns, 0);
  EXPECT_LE(process->interval_timers[1]->value_ns, 301 * kSecond);
}

TEST(PosixTimers, AreSavedAsTheKernelKnowsThem) {
  ChildProgram child(make_example_timers);
  expect_example_timers(*save(child.pid()));
}

TEST(PosixTimers, KeepTheirIdsAndSettings) {
  ChildProgram child(make_example_timers);
  auto rebuilt = rebuild(*save(child.pid()));
  expect_example_timers(*save(rebuilt->pid()));
}

TEST(PosixTimers, CountingReachesTheSameIds) {
  ChildProgram child(make_example_timers);
  auto saved = save(child.pid());
  ChildProgram rebuilt([&] {
    PlanInPlace plan;
    plan_timers_by_counting(*saved, {{saved->pid, getpid()}}, plan.builder());
    plan_arm_timers(*saved, plan.builder());
    plan.run();
  });
  expect_example_timers(*save(rebuilt.pid()));
}

TEST(PosixTimers, CountingSaysSoWhenAnIdCannotBeReached) {
  image::ProcessT process;
  process.posix_timers.push_back(std::make_unique<image::PosixTimerT>());
  process.posix_timers.back()->notify = SIGEV_NONE;
  auto rebuild_late = [&] {
    ChildProgram late([&] {
      create_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
      PlanInPlace plan;
      plan_timers_by_counting(process, {}, plan.builder());
      syscall(SYS_timer_delete, 0);
      plan.run();
    });
  };
  EXPECT_THROW(rebuild_late(), std::runtime_error);
}

TEST(PosixTimers, OneThatSignalsAnEndedThreadStaysSilent) {
  ChildProgram child([] {
    std::thread([] {
      int id = create_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGUSR1, 0,
                            static_cast<pid_t>(syscall(SYS_gettid)));
      arm(id, 1000, 0);
    }).join();
  });
  auto saved = save(child.pid());
  ASSERT_EQ(saved->posix_timers.size(), 1U);
  EXPECT_EQ(saved->posix_timers[0]->notify, SIGEV_NONE);
  EXPECT_THAT(ids(*save(rebuild(*saved)->pid())), testing::ElementsAre(0));
}

TEST(PosixTimers, ThreadClocksFollowTheNewIds) {
  image::ProcessT process;
  process.posix_timers.push_back(std::make_unique<image::PosixTimerT>());
  image::PosixTimerT& timer = *process.posix_timers.back();
  timer.clock = static_cast<std::int32_t>(~100U << 3) | 6;  // CPU time of thread 100
  timer.notify = SIGEV_NONE;
  PlanBuilder plan(RemoteAddr{0x10000}, 1 << 16);
  plan_timers_by_counting(process, {{100, 777}}, plan);
  auto expected = static_cast<std::int64_t>(static_cast<std::int32_t>(~777U << 3) | 6);
  EXPECT_EQ(static_cast<std::int64_t>(plan.operations()[0].arguments[0]), expected);
}

TEST(PosixTimers, LostOverrunCountIsNoted) {
  image::ProcessT process;
  process.posix_timers.push_back(std::make_unique<image::PosixTimerT>());
  process.posix_timers.back()->overrun = 3;
  PlanBuilder plan(RemoteAddr{0x10000}, 1 << 16);
  std::vector<std::string> notes;
  plan_process_state(process, plan, notes);
  EXPECT_THAT(notes, testing::ElementsAre(testing::HasSubstr("overrun count of 3")));
}

TEST(ProcTimers, AreParsed) {
  auto timers = parse_proc_timers(
      "ID: 4\nsignal: 10/00000000deadbeef\nnotify: signal/tid.123\nClockID: -6\n"
      "ID: 9\nsignal: 0/0000000000000000\nnotify: none/pid.120\nClockID: 1\n");
  ASSERT_EQ(timers.size(), 2U);
  EXPECT_EQ(timers[0].id, 4);
  EXPECT_EQ(timers[0].signal, 10);
  EXPECT_EQ(timers[0].value, 0xdeadbeefU);
  EXPECT_EQ(timers[0].notify, SIGEV_SIGNAL | SIGEV_THREAD_ID);
  EXPECT_EQ(timers[0].notify_tid, 123);
  EXPECT_EQ(timers[0].clock, -6);
  EXPECT_EQ(timers[1].notify, SIGEV_NONE);
  EXPECT_EQ(timers[1].clock, 1);
}

TEST(ProcTimers, LinesOfNewerKernelsAreSkipped) {
  auto timers = parse_proc_timers(
      "ID: 0\nsignal: 1/0\nnotify: signal/pid.1\nClockID: 0\nNewField: x\nOther: y\n"
      "ID: 1\nsignal: 1/0\nnotify: signal/pid.1\nClockID: 0\nNewField: x\n");
  EXPECT_EQ(timers.size(), 2U);
}

TEST(ProcTimers, OtherTextIsRefused) { EXPECT_THROW(parse_proc_timers("Timer 5\n"), Error); }

}  // namespace
}  // namespace ckpt::engine
