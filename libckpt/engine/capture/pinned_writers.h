#pragma once

#include <sys/types.h>

#include "image_generated.h"

namespace ckpt::engine {

// Whether the program has an io_uring or a context of AIO: through one the kernel writes to memory that it
// has pinned, at any time and unseen by write tracking, so that pages have to be compared instead.
bool has_pinned_writers(pid_t pid);
bool has_pinned_writers(const image::ProcessT& process);  // whose descriptors have been saved

}  // namespace ckpt::engine
