// The process that becomes the program: spawned, its descriptors made, the program file executed, and stopped
// at its first instruction.
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

#include "engine/restore/namespaces.h"
#include "engine/session.h"
#include "image_generated.h"

namespace ckpt::engine {

struct NewProcessRequest {
  const image::CheckpointT& checkpoint;
  const std::vector<int>& object_descriptors;  // parallel to Checkpoint.objects
  std::vector<int> kept_descriptors;           // of ours, to stay open in the new process for the plan
  int scratch_base;                            // first descriptor number that the program does not use
  std::string program_file;                    // what to execute
  PidPolicy pids;
  SocketPolicy sockets = {};
};

struct NewProcess {
  Spawned spawned;
  bool old_ids = true;  // the process has the pid that it had
  // Where the program's clocks could not be kept: how far they jump.
  std::optional<ClockOffsets> clock_jump;
};

// On return the process is traced by the calling thread (EXITKILL set), stopped behind execve's return, all
// signals blocked. Throws Error if anything failed; then nothing is left behind.
NewProcess start_new_process(const NewProcessRequest& request, std::vector<std::string>& notes);

}  // namespace ckpt::engine
