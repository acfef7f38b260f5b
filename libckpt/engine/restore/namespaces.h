// Namespaces of a restored program: pids for its old ids, time so that its monotonic clock goes on from where
// it was.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "engine/capture/clock_offsets.h"

namespace ckpt::engine {

struct SpawnRequest {
  std::optional<pid_t> wanted_pid;     // in the innermost namespace
  bool pid_namespace = false;          // with a user namespace unless we are privileged
  std::optional<ClockOffsets> clocks;  // own time namespace
  std::function<void()> child;         // runs in the new process, must not return
};

struct Spawned {
  pid_t pid = 0;   // in our pid namespace; a child of ours
  pid_t init = 0;  // first process of the new pid namespace, 0 if there is none; a child of ours
  bool in_user_namespace = false;
};

// Creates the process, single-threaded, a copy of ours (as fork). Throws Error with the errno: EEXIST if the
// wanted id is taken, EPERM if it or a namespace is not permitted.
Spawned spawn(const SpawnRequest& request);

// Kills and reaps what spawn() made, threads that the caller traces included.
void end_spawned(const Spawned& spawned) noexcept;

// Throws Error saying why if spawn() could not set the clocks here.
void require_time_namespace(const ClockOffsets& clocks);

}  // namespace ckpt::engine
