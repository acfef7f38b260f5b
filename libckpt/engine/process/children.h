// Child processes, which a checkpoint of one process cannot carry over.
#pragma once

#include "engine/tracee/remote_queries.h"

namespace ckpt::engine {

// The queries throw Error naming the children, ended ones that nobody has waited for included.
void refuse_children(const Tracee& tracee, RemoteQueries& queries);

}  // namespace ckpt::engine
