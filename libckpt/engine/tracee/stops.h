// Waiting for ptrace stops. The final exit of a child of ours is never consumed. Of any other process it is:
// the parent does not learn of it before the tracer has (ptrace(2), "Death under ptrace").
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>

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

// Stopped threads that cannot be detached were killed. Until their tracer has reaped them, and taken note of
// the end of their process, its parent does not learn that it has ended.
void reap_killed(pid_t pid, std::span<const pid_t> threads) noexcept;

// Of a process that is ending, after all its other threads were waited for; gives up at `deadline`.
void take_note_of_end(pid_t pid, std::chrono::steady_clock::time_point deadline);

}  // namespace ckpt::engine
