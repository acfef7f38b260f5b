// Deadlines of calls that wait for a point of the monotonic or boot-time clock, moved with the clock where a
// restored program could not keep it.
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "engine/capture/clock_offsets.h"
#include "image_generated.h"

namespace ckpt::engine {

// `pid` has its memory, and its threads are to get the registers in the image: those that stand before such a
// call find the deadline later by `jump` in memory. Each deadline is moved once, however many threads wait
// for it. Returns how many there were.
std::size_t move_absolute_deadlines(pid_t pid, const image::ProcessT& process, const ClockOffsets& jump);

}  // namespace ckpt::engine
