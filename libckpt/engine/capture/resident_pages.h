#pragma once

#include <vector>

#include "engine/capture/memory_map.h"
#include "engine/capture/page_scan.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {

// The parts of a shared mapping without a file name whose pages exist in the object behind it, whether or not
// this process has touched them. Reading others would create them. Asks the object itself
// (/proc/PID/map_files, privileged), else mincore in the process; where something is swapped out, which
// mincore does not show, the whole mapping.
std::vector<AddressRange> resident_object_pages(Tracee& tracee, const MapEntry& entry, const MapFlags& flags);

}  // namespace ckpt::engine
