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

// Reaps a thread that ended; the thread group leader's exit belongs to the program's parent and is only looked at.
bool thread_ended(pid_t pid, pid_t tid) {
  siginfo_t info{};
  int keep = tid == pid ? WNOWAIT : 0;
  if (::waitid(P_PID, static_cast<id_t>(tid), &info, WEXITED | WNOHANG | __WALL | keep) != 0) return errno == ECHILD;
  return info.si_pid == tid;
}

}  // namespace

bool Stop::is_event_stop() const { return event == PTRACE_EVENT_STOP; }
bool Stop::is_group_stop() const { return event == PTRACE_EVENT_STOP && signal != SIGTRAP; }
bool Stop::is_syscall_stop() const { return signal == (SIGTRAP | 0x80); }

std::optional<Stop> wait_for_stop(pid_t pid, pid_t tid, std::chrono::steady_clock::time_point deadline) {
  for (int round = 0;; ++round) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(tid), &info, WSTOPPED | WNOHANG | __WALL) != 0) {
      if (errno == EINTR) continue;
      if (errno == ECHILD) return Stop{.ended = true};
      throw_errno(fmt::format("wait for thread {}", tid));
    }
    if (info.si_pid == tid) return Stop{.signal = info.si_status & 0xff, .event = (info.si_status >> 8) & 0xff};
    if (thread_ended(pid, tid)) return Stop{.ended = true};
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
