#include "supervised_child_support.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/error.h"

namespace ckpt::engine {
namespace {

using std::chrono::steady_clock;

[[noreturn]] void run_child(int report, const ChildInCall::Function& prepare,
                            const ChildInCall::Function& call) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (prepare) prepare();
  errno = 0;
  steady_clock::time_point begin = steady_clock::now();
  Outcome outcome;
  outcome.result = call();
  outcome.error = outcome.result < 0 ? errno : 0;
  outcome.duration = steady_clock::now() - begin;
  ssize_t written = ::write(report, &outcome, sizeof(outcome));
  while (written == sizeof(outcome)) ::pause();
  ::_exit(1);
}

}  // namespace

ChildInCall::ChildInCall(const Function& call, const Function& prepare) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("make a pipe");
  report_.reset(ends[0]);
  UniqueFd write_end(ends[1]);
  pid_ = ::fork();
  if (pid_ < 0) throw_errno("fork");
  if (pid_ == 0) run_child(ends[1], prepare, call);
}

ChildInCall::~ChildInCall() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void ChildInCall::wait_until_in_call(long number) const {
  BlockedCalls threads(pid_);
  for (BlockedCall call; threads.look_at(pid_, call) != Whereabouts::kInCall || call.number != number;)
    ::sched_yield();
}

std::optional<Outcome> ChildInCall::outcome(steady_clock::time_point until) const {
  pollfd readable{.fd = report_.get(), .events = POLLIN, .revents = 0};
  auto left = std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(until - steady_clock::now()));
  timespec timeout{.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
  if (::ppoll(&readable, 1, &timeout, nullptr) <= 0) return std::nullopt;
  Outcome outcome;
  EXPECT_EQ(::read(report_.get(), &outcome, sizeof(outcome)), static_cast<ssize_t>(sizeof(outcome)));
  return outcome;
}

void stop_once(InterruptedCalls& calls, pid_t pid, const std::function<void(Tracee&)>& while_stopped) {
  calls.observe_before_stop(pid);
  Tracee tracee(pid);
  calls.fix_up(tracee);
  EXPECT_EQ(tracee.remote_syscall(SYS_getpid, {}), pid);
  RemoteCall call{.number = SYS_getpid, .arguments = {}, .result = 0};
  ThreadCalls batch{.thread = &tracee.main_thread(), .calls = std::span(&call, 1)};
  tracee.remote_syscalls(std::span(&batch, 1));
  EXPECT_EQ(call.result, pid);
  if (while_stopped) while_stopped(tracee);
  tracee.release();
  calls.released();
}

std::optional<Outcome> supervise(InterruptedCalls& calls, const ChildInCall& child,
                                 std::chrono::milliseconds period, std::chrono::milliseconds limit) {
  steady_clock::time_point end = steady_clock::now() + limit;
  steady_clock::time_point next_stop = steady_clock::now() + period;
  while (steady_clock::now() < end) {
    if (auto outcome = child.outcome(std::min(next_stop, calls.next_deadline().value_or(next_stop))))
      return outcome;
    calls.finish_due(child.pid());
    if (steady_clock::now() < next_stop) continue;
    stop_once(calls, child.pid());
    next_stop += period;
  }
  return std::nullopt;
}

}  // namespace ckpt::engine
