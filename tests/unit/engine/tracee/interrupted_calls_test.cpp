// The running program never sees an effect of a stop, and a restored call goes on with the time it had left.
#include "engine/tracee/interrupted_calls.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>

#include "blocking_calls_support.h"
#include "supervised_child_support.h"
#include "support/child_with_parent.h"

namespace ckpt::engine {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto kStopEvery = 50ms;
// Only a timeout that started anew at a stop comes this late: it would never come under stops.
constexpr auto kFarTooLate = 20 * kCallDuration;

class EveryBlockingCall : public testing::TestWithParam<BlockingCall> {};

void expect_as_if_never_stopped(const BlockingCall& call, const std::optional<Outcome>& outcome) {
  ASSERT_TRUE(outcome) << call.name << " started anew";
  EXPECT_EQ(outcome->result, call.result);
  EXPECT_EQ(outcome->error, call.error) << strerrorname_np(outcome->error);
  if (call.ends_by_timeout) {
    EXPECT_GE(outcome->duration, kCallDuration) << "too early";
  }
}

TEST_P(EveryBlockingCall, EndsAsIfNeverStopped) {
  InterruptedCalls calls;
  ChildInCall child(GetParam().run);
  child.wait_until_in_call(GetParam().number);
  expect_as_if_never_stopped(GetParam(), supervise(calls, child, kStopEvery, kFarTooLate));
}

// What a restore does, in the same process: the thread gets its registers from the image, a new supervisor
// what it has to finish.
TEST_P(EveryBlockingCall, ContinuesFromItsImage) {
  InterruptedCalls before;
  ChildInCall child(GetParam().run);
  child.wait_until_in_call(GetParam().number);
  EXPECT_FALSE(supervise(before, child, kStopEvery, 2 * kStopEvery));

  InterruptedCalls after;
  stop_once(before, child.pid(), [&](Tracee& tracee) {
    StoppedThread& thread = tracee.main_thread();
    user_regs_struct image = before.image_registers(tracee, thread);
    EXPECT_EQ(static_cast<long>(image.rax), GetParam().number);
    EXPECT_EQ(image.orig_rax, ~0ULL);
    if (auto timed = before.timed_call(thread)) {
      EXPECT_EQ(timed->number, GetParam().number);
      EXPECT_TRUE(GetParam().ends_by_timeout);
      after.adopt(thread.tid, *timed, image);
    }
    thread.registers = image;
    thread.registers_changed = true;
  });
  after.released();
  expect_as_if_never_stopped(GetParam(), supervise(after, child, kStopEvery, kFarTooLate));
}

INSTANTIATE_TEST_SUITE_P(Calls, EveryBlockingCall, testing::ValuesIn(blocking_calls()),
                         [](const auto& instance) { return instance.param.name; });

// Two stops so close to each other that the thread has not made restart_syscall yet in between.
TEST(InterruptedCallsTest, CallThatIsAboutToGoOnIsThatCall) {
  for (const BlockingCall& call : blocking_calls()) {
    if (call.number != SYS_poll && call.number != SYS_nanosleep) continue;
    InterruptedCalls calls;
    ChildInCall child(call.run);
    child.wait_until_in_call(call.number);
    stop_once(calls, child.pid(), [&](Tracee& tracee) {
      StoppedThread& thread = tracee.main_thread();
      ASSERT_EQ(static_cast<long>(thread.registers.rax), -516);  // ERESTART_RESTARTBLOCK
      for (unsigned long long original : {~0ULL, static_cast<unsigned long long>(call.number)}) {
        thread.registers.rip -= 2;
        thread.registers.rax = SYS_restart_syscall;
        thread.registers.orig_rax = original;
        calls.fix_up(tracee);
        EXPECT_EQ(static_cast<long>(calls.image_registers(tracee, thread).rax), call.number);
        EXPECT_EQ(calls.timed_call(thread) != nullptr, call.ends_by_timeout);
      }
    });
    expect_as_if_never_stopped(call, supervise(calls, child, kStopEvery, kFarTooLate));
  }
}

// The whole timeout must not be waited for again where nobody stops the restored thread.
TEST(InterruptedCallsTest, FinishesARestoredSleepWithoutFurtherStops) {
  InterruptedCalls before;
  ChildInCall child([] {
    timespec time{.tv_sec = 3600, .tv_nsec = 0};
    return ::syscall(SYS_nanosleep, &time, nullptr);
  });
  child.wait_until_in_call(SYS_nanosleep);
  InterruptedCalls after;
  stop_once(before, child.pid(), [&](Tracee& tracee) {
    StoppedThread& thread = tracee.main_thread();
    thread.registers = before.image_registers(tracee, thread);
    thread.registers_changed = true;
    auto timed = before.timed_call(thread);
    ASSERT_TRUE(timed);
    EXPECT_GT(timed->remaining_ns, std::chrono::nanoseconds(3500s).count());
    timed->remaining_ns = std::chrono::nanoseconds(100ms).count();
    after.adopt(thread.tid, *timed, thread.registers);
  });
  after.released();
  auto outcome = supervise(after, child, 1h, kFarTooLate);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->result, 0);
  EXPECT_GE(outcome->duration, 100ms);
  EXPECT_FALSE(after.next_deadline());
}

void on_signal(int /*signal*/) {}

// Without SA_RESTART: the program relies on EINTR.
long catch_user_signal() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  return ::sigaction(SIGUSR1, &action, nullptr);
}

long wait_for_ever() {
  epoll_event event{};
  return ::syscall(SYS_epoll_wait, ::epoll_create1(0), &event, 1, -1);
}

TEST(InterruptedCallsTest, SignalThatComesDuringAStopStillInterrupts) {
  InterruptedCalls calls;
  ChildInCall child(wait_for_ever, catch_user_signal);
  child.wait_until_in_call(SYS_epoll_wait);
  stop_once(calls, child.pid());
  stop_once(calls, child.pid(), [&](Tracee& tracee) { EXPECT_EQ(::kill(tracee.pid(), SIGUSR1), 0); });
  auto outcome = child.outcome(steady_clock::now() + kFarTooLate);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->error, EINTR);
}

TEST(InterruptedCallsTest, SignalThatComesBetweenStopsStillInterrupts) {
  InterruptedCalls calls;
  ChildInCall child(wait_for_ever, catch_user_signal);
  child.wait_until_in_call(SYS_epoll_wait);
  for (int i = 0; i < 3; ++i) stop_once(calls, child.pid());
  child.wait_until_in_call(SYS_epoll_wait);
  ASSERT_EQ(::kill(child.pid(), SIGUSR1), 0);
  auto outcome = supervise(calls, child, kStopEvery, kFarTooLate);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->error, EINTR);
}

TEST(InterruptedCallsTest, IgnoredSignalDuringAStopDoesNotInterrupt) {
  InterruptedCalls calls;
  int event = ::eventfd(0, EFD_CLOEXEC);
  ChildInCall child([event] {
    epoll_event ready{.events = EPOLLIN, .data = {}};
    int epoll = ::epoll_create1(0);
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, event, &ready);
    return ::syscall(SYS_epoll_wait, epoll, &ready, 1, -1);
  });
  child.wait_until_in_call(SYS_epoll_wait);
  for (int i = 0; i < 3; ++i) {
    stop_once(calls, child.pid(), [](Tracee& tracee) { EXPECT_EQ(::kill(tracee.pid(), SIGCHLD), 0); });
  }
  EXPECT_EQ(::eventfd_write(event, 1), 0);
  auto outcome = child.outcome(steady_clock::now() + kFarTooLate);
  ::close(event);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->result, 1);
}

// Equal calls one after the other, each ended by an event shortly before its timeout: a deadline kept for one
// of them must not end the next.
TEST(InterruptedCallsTest, DeadlineOfOneCallDoesNotEndTheNextEqualOne) {
  constexpr int kRounds = 4;
  InterruptedCalls calls;
  ChildInCall child([] {
    int epoll = ::epoll_create1(0);
    int event = ::eventfd(0, 0);
    epoll_event ready{.events = EPOLLIN, .data = {}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, event, &ready);
    if (tests::fork_child_that_ends_with_parent() == 0) {
      for (int i = 0; i < kRounds; ++i) {
        timespec most{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(kCallDuration * 3 / 5).count()};
        ::nanosleep(&most, nullptr);
        ::eventfd_write(event, 1);
      }
      ::_exit(0);
    }
    for (int i = 0; i < kRounds; ++i) {
      epoll_event found{};
      // On a busy machine the event may come after the whole time; what must not be is an end before it.
      for (bool came = false; !came;) {
        auto began = std::chrono::steady_clock::now();
        came = ::syscall(SYS_epoll_wait, epoll, &found, 1, kCallDuration.count()) == 1;
        if (!came && std::chrono::steady_clock::now() - began < kCallDuration) return -1L - i;
      }
      std::uint64_t count = 0;
      if (::read(event, &count, sizeof(count)) != sizeof(count)) return -100L;
    }
    return 0L;
  });
  auto outcome = supervise(calls, child, kStopEvery, kFarTooLate);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->result, 0);
}

// Once stopped, a loop whose waits end by events is left alone afterwards.
TEST(InterruptedCallsTest, LeavesALoopOfShortWaitsAlone) {
  InterruptedCalls calls;
  ChildInCall child([] {
    int epoll = ::epoll_create1(0);
    int timer = ::timerfd_create(CLOCK_MONOTONIC, 0);
    timespec often{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(30ms).count()};
    itimerspec setting{.it_interval = often, .it_value = often};
    ::timerfd_settime(timer, 0, &setting, nullptr);
    epoll_event event{.events = EPOLLIN, .data = {}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    for (;;) {
      std::uint64_t count = 0;
      if (::syscall(SYS_epoll_wait, epoll, &event, 1, 200) != 1) return -1L;
      if (::read(timer, &count, sizeof(count)) != sizeof(count)) return -2L;
    }
  });
  EXPECT_FALSE(
      child.outcome(steady_clock::now() + 100ms));  // the first rounds may differ in unused registers
  while (!calls.next_deadline()) stop_once(calls, child.pid());  // until a stop meets a wait
  int looks = 0;
  for (; calls.next_deadline() && looks < 10; ++looks) {
    EXPECT_FALSE(child.outcome(*calls.next_deadline()));
    calls.finish_due(child.pid());
  }
  EXPECT_LT(looks, 10);
}

// The time left counts from the beginning of the call, not from when we first looked.
TEST(InterruptedCallsTest, CountsTheTimeThatPassedBeforeTheFirstStop) {
  for (long number : {SYS_poll, SYS_epoll_wait, SYS_nanosleep}) {
    steady_clock::time_point before = steady_clock::now();
    ChildInCall child([number] {
      epoll_event event{};
      timespec hour{.tv_sec = 3600, .tv_nsec = 0};
      int epoll = ::epoll_create1(0);
      if (number == SYS_nanosleep) return ::syscall(number, &hour, nullptr);
      if (number == SYS_poll) return ::syscall(number, nullptr, 0, 3'600'000);
      return ::syscall(number, epoll, &event, 1, 3'600'000);
    });
    child.wait_until_in_call(number);
    steady_clock::time_point in_call = steady_clock::now();
    EXPECT_FALSE(child.outcome(in_call + 300ms));
    InterruptedCalls calls;
    stop_once(calls, child.pid(), [&](Tracee& tracee) {
      auto timed = calls.timed_call(tracee.main_thread());
      ASSERT_TRUE(timed);
      std::chrono::nanoseconds passed = 1h - std::chrono::nanoseconds(timed->remaining_ns);
      EXPECT_GE(passed, 200ms) << "call " << number;
      EXPECT_LE(passed, steady_clock::now() - before) << "call " << number;
    });
  }
}

long sleep_by_plain_instructions() {
  timespec time{.tv_sec = 3600, .tv_nsec = 0};
  long result = 0;
  asm volatile(
      "mov %[number], %%eax\n"
      "syscall"
      : "=a"(result)
      : [number] "i"(SYS_nanosleep), "D"(&time), "S"(nullptr)
      : "rcx", "r11", "memory");
  return result;
}

// Job control has turned the call into restart_syscall before we ever saw it.
TEST(InterruptedCallsTest, FindsTheNumberOfACallThatOthersInterrupted) {
  ChildInCall child(sleep_by_plain_instructions);
  child.wait_until_in_call(SYS_nanosleep);
  ASSERT_EQ(::kill(child.pid(), SIGSTOP), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid(), &status, WUNTRACED), child.pid());
  ASSERT_EQ(::kill(child.pid(), SIGCONT), 0);
  child.wait_until_in_call(arch::kRestartNumber);
  InterruptedCalls calls;
  stop_once(calls, child.pid(), [&](Tracee& tracee) {
    StoppedThread& thread = tracee.main_thread();
    EXPECT_EQ(calls.image_registers(tracee, thread).rax, static_cast<unsigned long long>(SYS_nanosleep));
    auto timed = calls.timed_call(thread);
    ASSERT_TRUE(timed);
    EXPECT_EQ(timed->number, SYS_nanosleep);
  });
}

TEST(InterruptedCallsTest, LeavesRegistersOfComputingThreadsAsTheyAre) {
  ChildInCall child([] {
    for (volatile std::uint64_t i = 0;;) i = i + 1;
    return 0L;
  });
  InterruptedCalls calls;
  for (int i = 0; i < 100; ++i) {
    stop_once(calls, child.pid(), [&](Tracee& tracee) {
      StoppedThread& thread = tracee.main_thread();
      if (thread.registers.orig_rax != ~0ULL) return;
      EXPECT_FALSE(thread.registers_changed);
      user_regs_struct image = calls.image_registers(tracee, thread);
      EXPECT_EQ(image.rip, thread.registers.rip);
      EXPECT_EQ(image.rax, thread.registers.rax);
      EXPECT_EQ(calls.timed_call(thread), nullptr);
    });
  }
  EXPECT_FALSE(calls.next_deadline());
}

}  // namespace
}  // namespace ckpt::engine
