#pragma once

#include <sys/types.h>

#include <vector>

#include "base/unique_fd.h"

namespace ckpt::engine {

// A process that need not be a child of ours, and what tells that its id has not got to another one.
struct WatchedProcess {
  pid_t pid;
  UniqueFd pidfd;
};

// Throws Error if there is no such process.
WatchedProcess watch_process(pid_t pid);

// Kills those that are alive, and all their descendants. Does not wait for them, and does not reap.
void kill_families(const std::vector<WatchedProcess>& processes) noexcept;

// Whether the process has ended, reaped or not; waits up to `timeout_ms` (-1: for ever) for that.
bool has_ended(int pidfd, int timeout_ms) noexcept;
// Whether all have; waits up to so long for each.
bool have_ended(const std::vector<WatchedProcess>& processes, int timeout_ms) noexcept;

}  // namespace ckpt::engine
