// How a program's monotonic and boot-time clocks go on here from where they were.
#pragma once

#include <optional>

#include "engine/capture/clock_offsets.h"
#include "image_generated.h"

namespace ckpt::engine {

// The offsets to the machine's clocks that the program needs here; empty if the clocks that it gets anyway
// do.
//  - Same boot: the machine's clocks went on all the time, so the program keeps the offsets that it had.
//  - Another boot or machine: its clocks go on from the moment of the checkpoint, wherever ours stand.
std::optional<ClockOffsets> needed_offsets(const image::CheckpointT& checkpoint);

// How far a program's clocks are ahead of `wanted` if it gets those of this process.
ClockOffsets jump_without(const ClockOffsets& wanted);

}  // namespace ckpt::engine
