#pragma once

#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

// Registers and interrupted calls of all threads into process.threads, which save_process_state() has made.
void save_registers(Tracee& tracee, const InterruptedCalls& calls, image::ProcessT& process);

}  // namespace ckpt::engine
