#pragma once

#include <memory>

#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

// Everything about one stopped thread, registers and extended state included.
std::unique_ptr<image::ThreadT> save_thread(Tracee& tracee, const InterruptedCalls& calls,
                                            StoppedThread& thread);

}  // namespace ckpt::engine
