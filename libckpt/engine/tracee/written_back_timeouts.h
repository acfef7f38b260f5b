#pragma once

#include <chrono>

#include "engine/tracee/tracee.h"

namespace ckpt::engine {

// select, pselect6 and ppoll, when interrupted, store the time that is left in the program's memory and
// start again with that (select(2), "Notes"): without this they would end late by the length of every stop.
// To be called just before release. `pause` counts from when the last thread stood still: a thread that
// stopped earlier so ends a little late, but none ends early.
void subtract_pause_from_timeouts(Tracee& tracee, std::chrono::nanoseconds pause);

}  // namespace ckpt::engine
