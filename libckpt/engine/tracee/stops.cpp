#include "engine/tracee/stops.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr int kYieldsBeforeSleeping = 200;

// Looks without consuming: a traced child that stands still is reported whichever of the two is asked for.
siginfo_t peek(pid_t tid) {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(tid), &info, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) == 0)
    return info;
  if (errno != ECHILD) throw_errno(fmt::format("wait for thread {}", tid));
  info.si_pid = tid;
  info.si_code = CLD_EXITED;
  return info;
}

bool says_ended(const siginfo_t& info) {
  return info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
}

}  // namespace

bool Stop::is_event_stop() const { return event == PTRACE_EVENT_STOP; }
bool Stop::is_group_stop() const { return event == PTRACE_EVENT_STOP && signal != SIGTRAP; }
bool Stop::is_syscall_stop() const { return signal == (SIGTRAP | 0x80); }

std::optional<Stop> wait_for_stop(pid_t pid, pid_t tid, std::chrono::steady_clock::time_point deadline) {
  for (int round = 0;; ++round) {
    siginfo_t info = peek(tid);
    if (info.si_pid == tid && says_ended(info)) {
      // The thread group leader's exit belongs to the program's parent.
      if (tid != pid) ::waitid(P_PID, static_cast<id_t>(tid), &info, WEXITED | WNOHANG | __WALL);
      return Stop{.ended = true};
    }
    if (info.si_pid == tid) {
      Stop stop{.signal = info.si_status & 0xff, .event = (info.si_status >> 8) & 0xff};
      ::waitid(P_PID, static_cast<id_t>(tid), &info, WSTOPPED | WNOHANG | __WALL);
      return stop;
    }
    if (round < kYieldsBeforeSleeping) {
      ::sched_yield();
      continue;
    }
    if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
    timespec pause{.tv_sec = 0, .tv_nsec = 50'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace ckpt::engine
