// Memory that the program asked to leave out of its checkpoints (ckpt_exclude).
#pragma once

#include <sys/types.h>

#include <vector>

#include "engine/capture/address_ranges.h"
#include "engine/capture/memory_map.h"

namespace ckpt::engine {

// `before`: what was excluded when this was asked last; the answer if the program is just changing it.
AddressRanges excluded_memory(pid_t pid, const std::vector<MapEntry>& maps, const AddressRanges& before);

}  // namespace ckpt::engine
