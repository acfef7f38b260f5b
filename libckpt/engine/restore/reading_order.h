// The pages of a space in the two orders that a restore needs.
#pragma once

#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct SpaceRuns {
  std::vector<store::PageRun> by_page;   // ascending, merged where adjacent
  std::vector<store::PageRun> by_place;  // as they lie on disk
};

SpaceRuns runs_of(const store::CheckpointReader& reader, store::SpaceId space);

}  // namespace ckpt::engine
