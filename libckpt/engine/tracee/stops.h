// Waiting for ptrace stops, without ever consuming the final exit of the program: its parent reaps that.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>

namespace ckpt::engine {

struct Stop {
  int signal = 0;      // SIGTRAP | 0x80 for system-call stops
  int event = 0;       // PTRACE_EVENT_*
  bool ended = false;  // the thread is gone

  bool is_event_stop() const;  // PTRACE_EVENT_STOP: our interrupt, a new thread, or a group stop
  bool is_group_stop() const;
  bool is_syscall_stop() const;
};

// The stop that thread `tid` (of process `pid`) has come to, or nothing if there is none yet.
std::optional<Stop> look_for_stop(pid_t pid, pid_t tid);

// The next stop of thread `tid` (of process `pid`), or nothing if `deadline` passes first.
std::optional<Stop> wait_for_stop(pid_t pid, pid_t tid, std::chrono::steady_clock::time_point deadline);

}  // namespace ckpt::engine
