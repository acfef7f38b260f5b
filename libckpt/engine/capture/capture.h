// One checkpoint of stopped processes, as a list of stages.
#pragma once

#include <sys/types.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/capture/file_identity.h"
#include "engine/capture/memory.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/stage_clock.h"
#include "engine/process/family.h"
#include "engine/resource/kept_elsewhere.h"
#include "engine/resource/socket/tcp_repair.h"
#include "engine/session.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// What is needed of one process.
struct ProcessContext {
  Tracee& tracee;
  const InterruptedCalls& calls;
  const std::vector<MapEntry>& maps;  // read in the stop, before any remote call
  const MapFlagsTable& flags;         // of all of them
  WriteTracker* tracker;              // none: every page counts as written
  const PageNeeds& needs;
  const AddressRanges& known_content;  // a moment ago, of anonymous memory that is tracked
  store::SpaceId space;                // for its pages
  std::function<std::string(int, const std::string&)> opener;  // see SaveContext
  const KeptElsewhere& kept;
};

struct CaptureContext {
  std::span<const ProcessContext> processes;  // the program first, parents before their children
  std::span<const Relative> relatives;  // of the program, as the stop found them; empty if nobody looked
  FileIdentities& identities;
  store::CheckpointWriter& writer;
  StageClock& clock;
  PauseThreads& threads;
  CarriedFiles files;
  const std::string& cpu_baseline;
  std::vector<resource::SilencedConnection>* silenced;  // see SaveContext
};

// What was read while the processes stood still. The pages of `memories` (in the order of the processes) are
// still to be copied.
struct StoppedState {
  image::CheckpointT checkpoint;
  std::vector<CapturedMemory> memories;
  std::vector<std::string> notes;
  std::vector<UniqueFd> files_to_sync;

  // In the order of CaptureContext.processes.
  std::vector<image::ProcessT*> running_processes() const;
};

// Reads everything about the stopped processes. Throws Error, leaving them as they were, if something cannot
// be carried over.
StoppedState capture_stopped(const CaptureContext& context);

}  // namespace ckpt::engine
