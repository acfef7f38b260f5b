#pragma once

#include <memory>

#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

// Where the kernel believes code, data, heap, stack, arguments and environment to be (struct prctl_mm_map),
// from /proc/PID/stat fields 26..28 and 45..51 and /proc/PID/auxv; the end of the heap from brk(0).
std::unique_ptr<image::MemoryLayoutT> save_memory_layout(Tracee& tracee);

}  // namespace ckpt::engine
