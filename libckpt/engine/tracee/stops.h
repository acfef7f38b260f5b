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

// The next stop of thread `tid` (of process `pid`), or nothing if `deadline` passes first.
std::optional<Stop> wait_for_stop(pid_t pid, pid_t tid, std::chrono::steady_clock::time_point deadline);

// Reaps the ended threads of a traced process, its leader excepted: nobody else can, and until it is done the
// leader's exit is not reported to its parent.
void reap_ended_threads(pid_t pid);

// Reaps a child of ours, threads included, that was sent SIGKILL.
void reap_killed_process(pid_t pid);

}  // namespace ckpt::engine
