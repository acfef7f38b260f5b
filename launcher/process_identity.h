// Which process a recorded pid means: pids are reused, so a record carries the start time and the boot as
// well.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace ckpt::launcher {

struct ProcessIdentity {
  pid_t pid = 0;  // in the pid namespace of ckptrun
  std::uint64_t start_time =
      0;  // field 22 of /proc/PID/stat, clock ticks since boot, outside of time namespaces
  std::string boot_id;

  bool operator==(const ProcessIdentity&) const = default;
};

std::optional<ProcessIdentity> identify_process(pid_t pid);

enum class Liveness {
  kGone,     // no such process, a zombie, or another process with that pid
  kEnding,   // SIGKILL is pending or it is on its way out
  kStopped,  // by job control
  kRunning,
};
Liveness liveness(const ProcessIdentity& identity);

// True once the process is gone. One that is ending is waited for (the end of a large program takes a while),
// any other only for `grace`: its killer may be ahead of the kernel by a moment.
bool wait_until_gone(const ProcessIdentity& identity,
                     std::chrono::milliseconds grace = std::chrono::milliseconds(100));

}  // namespace ckpt::launcher
