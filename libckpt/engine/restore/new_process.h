// The processes that become the program and its relatives: spawned, their descriptors made, their program
// files executed, and stopped at their first instruction.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/process/id_map.h"
#include "engine/resource/descriptors.h"
#include "engine/restore/namespaces.h"
#include "engine/session.h"
#include "image_generated.h"

namespace ckpt::engine {

// What one of them is to become.
struct NewMember {
  ProcessView view;
  std::vector<int> kept_descriptors;  // of ours, to stay open for the plan
  std::string program_file;           // what to execute
  bool forked = false;                // is made later, by a fork of another one (fork_again.h)
  // Those that are made by forks of this one, and of its forks (indices among the members): it keeps open
  // what they need.
  std::vector<std::size_t> forks = {};
};

struct NewProcessRequest {
  const std::vector<NewMember>& members;  // the program first, parents before their children
  // Processes that have ended and are still to be waited for.
  std::vector<const image::ProcessT*> ended;
  const std::vector<int>& object_descriptors;  // parallel to Checkpoint.objects
  int scratch_base;                            // first descriptor number that none of them uses
  PidPolicy pids;
  SocketPolicy sockets = {};
  // Of all descriptions, in memory that is shared with the new processes: receives where those have them that
  // keep them for their forks.
  std::span<std::int32_t> description_numbers = {};
};

struct NewProcess {
  Spawned spawned;
  // Parallel to the request's members, spawned.pid is the first; 0 for those that are not made yet.
  std::vector<pid_t> pids;
  bool old_ids = true;  // the processes have the ids that they had
  IdMap ids;            // else: those that processes, groups and sessions have instead
  // Where the program's clocks could not be kept: how far they jump.
  std::optional<ClockOffsets> clock_jump;
};

// On return the processes are traced by the calling thread (EXITKILL set), stopped behind execve's return,
// all signals blocked. Throws Error if anything failed; then nothing is left behind.
NewProcess start_new_process(const NewProcessRequest& request, std::vector<std::string>& notes);

// Kills all of them, and reaps those that are ours to reap.
void end_new_process(const NewProcess& process) noexcept;

}  // namespace ckpt::engine
