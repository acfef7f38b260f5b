// What a process that is forked from its parent once more can keep of the parent's memory.
#pragma once

#include <span>
#include <vector>

#include "engine/capture/address_ranges.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// For each mapping of `child`, whether it is there as it should be when the child is a fork of `parent`,
// which has its own mappings and nothing else: as the whole or a part of one of those. So it is one mapping
// to the kernel, too, which is what mremap(2) wants. Not what a fork leaves out or empties (MADV_DONTFORK,
// MADV_WIPEONFORK).
std::vector<bool> kept_mappings(const image::ProcessT& parent, const image::ProcessT& child);

// Where those are.
AddressRanges kept_ranges(const image::ProcessT& child, const std::vector<bool>& kept);

// What of `runs` (ascending) is not in `ranges`.
std::vector<store::StoredRun> subtract(std::span<const store::StoredRun> runs, const AddressRanges& ranges);

}  // namespace ckpt::engine
