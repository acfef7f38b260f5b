// Ids in the system calls that the threads of a checkpoint are about to make: most of them wait for a child.
#pragma once

#include <sys/types.h>

#include "engine/process/id_map.h"
#include "image_generated.h"

namespace ckpt::engine {

// Changes them in the registers of the image; and, where libc itself waits (system(), pclose()), also what it
// remembers of whom it waits for. `pid` has the program's memory.
void correct_awaited_ids(pid_t pid, image::ProcessT& process, const IdMap& ids);

}  // namespace ckpt::engine
