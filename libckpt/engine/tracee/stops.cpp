#include "engine/tracee/stops.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/error.h"
#include "base/proc_stat.h"

namespace ckpt::engine {
namespace {

constexpr int kYieldsBeforeSleeping = 200;
constexpr int kYieldsBetweenLooks = 20;
constexpr std::chrono::seconds kLongestEnd{60};
constexpr timespec kPauseBetweenLooks{.tv_sec = 0, .tv_nsec = 50'000};

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

// Ends are none of its business, so that one call is enough.
std::optional<Stop> take_stop(pid_t tid) {
  siginfo_t info{};
  bool found = ::waitid(P_PID, static_cast<id_t>(tid), &info, WSTOPPED | WNOHANG | __WALL) == 0;
  if (!found || info.si_pid != tid) return std::nullopt;
  return Stop{.signal = info.si_status & 0xff, .event = (info.si_status >> 8) & 0xff};
}

// True if there is nothing left to be taken.
bool take_end(pid_t tid) {
  siginfo_t info{};
  bool found = ::waitid(P_PID, static_cast<id_t>(tid), &info, WEXITED | WNOHANG | __WALL) == 0;
  return !found || info.si_pid == tid;
}

bool says_ended(const siginfo_t& info) {
  return info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
}

// Its status is for whoever waits for our children.
bool is_own_child(pid_t pid) try { return ProcStat(pid).parent() == ::getpid(); } catch (const Error&) {
  return true;  // gone; nothing to be taken
}

// A thread group leader that has ended is not reported before its other traced threads are reaped. (Other
// threads always are, and must not be taken for ended here: unreaped, they would keep the leader from being
// reported for ever.)
bool is_unreported_zombie(pid_t pid) try {
  char state = ProcStat(pid).state();
  return state == 'Z' || state == 'X';
} catch (const Error&) {
  return true;
}

}  // namespace

bool Stop::is_event_stop() const { return event == PTRACE_EVENT_STOP; }
bool Stop::is_group_stop() const { return event == PTRACE_EVENT_STOP && signal != SIGTRAP; }
bool Stop::is_syscall_stop() const { return signal == (SIGTRAP | 0x80); }

std::optional<Stop> look_for_stop(pid_t pid, pid_t tid) {
  if (std::optional<Stop> stop = take_stop(tid)) return stop;
  siginfo_t info = peek(tid);
  if (info.si_pid == tid && says_ended(info)) {
    if (tid != pid || !is_own_child(pid)) take_end(tid);
    return Stop{.ended = true};
  }
  if (tid == pid && is_unreported_zombie(pid)) return Stop{.ended = true};
  return std::nullopt;
}

std::optional<Stop> wait_for_stop(pid_t pid, pid_t tid, std::chrono::steady_clock::time_point deadline) {
  for (int round = 1; round <= kYieldsBeforeSleeping; ++round) {
    bool thoroughly = round % kYieldsBetweenLooks == 0;
    if (std::optional<Stop> stop = thoroughly ? look_for_stop(pid, tid) : take_stop(tid)) return stop;
    ::sched_yield();
  }
  for (;;) {
    if (std::optional<Stop> stop = look_for_stop(pid, tid)) return stop;
    if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
    ::nanosleep(&kPauseBetweenLooks, nullptr);
  }
}

void reap_killed(pid_t pid, std::span<const pid_t> threads) noexcept {
  try {
    std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::now() + kLongestEnd;
    for (pid_t tid : threads) {
      if (tid == pid) continue;
      std::optional<Stop> stop = wait_for_stop(pid, tid, deadline);
      if (stop && !stop->ended) ::ptrace(PTRACE_DETACH, tid, nullptr, 0);
    }
    take_note_of_end(pid, deadline);
  } catch (const Error&) {
    return;  // no such child any more
  }
}

void take_note_of_end(pid_t pid, std::chrono::steady_clock::time_point deadline) {
  if (is_own_child(pid)) return;
  while (!take_end(pid) && std::chrono::steady_clock::now() < deadline)
    ::nanosleep(&kPauseBetweenLooks, nullptr);
}

}  // namespace ckpt::engine
