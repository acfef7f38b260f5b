// Child processes, which a checkpoint of one process cannot carry over.
#pragma once

#include "engine/tracee/tracee.h"

namespace ckpt::engine {

// Throws Error naming the children, ended ones that nobody has waited for included.
void refuse_children(Tracee& tracee);

}  // namespace ckpt::engine
