#pragma once

#include <sys/types.h>

namespace ckpt::engine {

// Kills the process and all its descendants, as long as `pidfd` says that it is alive; it and they need not
// be our children. Does not wait for them, and does not reap.
void kill_family(pid_t pid, int pidfd) noexcept;

// Whether the process has ended, reaped or not; waits up to `timeout_ms` (-1: for ever) for that.
bool has_ended(int pidfd, int timeout_ms) noexcept;

}  // namespace ckpt::engine
