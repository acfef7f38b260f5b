#pragma once

#include <sys/types.h>

#include <vector>

#include "engine/restore/address_space.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Puts the stored content into the mappings of the stopped process, in parallel, every page's digest verified
// by the store on the way: `runs` of its private memory, and its shared anonymous objects. Throws the first
// Error that any thread met.
void fill_memory(pid_t pid, const image::CheckpointT& checkpoint, const store::CheckpointReader& reader,
                 const std::vector<store::PageRun>& runs, const WorkArea& area);

}  // namespace ckpt::engine
