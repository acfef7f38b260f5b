// One checkpoint of a stopped program, as a list of stages.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engine/capture/file_identity.h"
#include "engine/capture/memory_map.h"
#include "engine/session.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Reads everything about the stopped program; `flags` was read before the stop. Throws Error, leaving the
// program as it was, if something cannot be carried over. Fills all of the result except the times.
CaptureResult capture_stopped(Tracee& tracee, const InterruptedCalls& calls, MapFlagsTable& flags,
                              FileIdentities& identities, store::CheckpointWriter& writer);

}  // namespace ckpt::engine
