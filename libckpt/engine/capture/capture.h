// One checkpoint of a stopped program, as a list of stages.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engine/capture/file_identity.h"
#include "engine/capture/memory.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/stage_clock.h"
#include "engine/session.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct CaptureContext {
  const InterruptedCalls& calls;
  const std::vector<MapEntry>& maps;  // read in the stop, before any remote call
  MapFlagsTable& flags;               // read before the stop
  FileIdentities& identities;
  store::CheckpointWriter& writer;
  WriteTracker* tracker;  // none: every page counts as written
  const PageNeeds& needs;
  StageClock& clock;
  PauseThreads& threads;
  const AddressRanges& known_content;  // a moment ago, of anonymous memory that is tracked
  bool with_files;                     // those that the program writes
};

// What was read while the program stood still. The pages of `memory` are still to be copied.
struct StoppedState {
  image::CheckpointT checkpoint;
  CapturedMemory memory;
  std::vector<std::string> notes;
  std::vector<UniqueFd> files_to_sync;
};

// Reads everything about the stopped program. Throws Error, leaving the program as it was, if something
// cannot be carried over.
StoppedState capture_stopped(Tracee& tracee, const CaptureContext& context);

}  // namespace ckpt::engine
