// Memory that processes have in common since fork, until one of them writes to it: a version holds it once,
// but each process of a recovered tree has its own.
#pragma once

#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

// A line for people about how much more memory the content of these spaces takes than if equal pages of the
// version were shared; empty if that is not worth mentioning.
std::string common_memory_note(const store::CheckpointReader& reader,
                               const std::vector<store::SpaceId>& spaces);

}  // namespace ckpt::engine
