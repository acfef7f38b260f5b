// What the threads of a running process are blocked in, from /proc, without stopping them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_list.h"
#include "engine/tracee/arch/x86_64/call_registers.h"
#include "engine/tracee/scheduler_clock.h"

namespace ckpt::engine {

struct BlockedCall {
  pid_t tid = 0;
  long number = 0;
  arch::CallSite site;
  std::chrono::steady_clock::time_point since;  // not before the call began
  std::optional<std::uint64_t> voluntary_switches;
};

enum class Whereabouts { kGone, kRunning, kElsewhere, kInCall };

class BlockedCalls {
 public:
  // Throws Error if the process is gone.
  explicit BlockedCalls(pid_t pid) : threads_(pid) {}

  std::vector<pid_t> list_threads() { return threads_.ids(); }

  // Where the thread is; fills `call` but for its history if it is blocked in a system call.
  Whereabouts look_at(pid_t tid, BlockedCall& call);

  // Since when the calls have been going on, as close as can be told.
  void read_history(std::vector<BlockedCall>& calls);

  std::optional<RunRecord> run_record(pid_t tid);

 private:
  std::string read(pid_t tid, const char* file);  // empty if it cannot be read
  int processor_of(pid_t tid);

  ThreadList threads_;
};

}  // namespace ckpt::engine
