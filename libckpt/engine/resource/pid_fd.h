#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kPidFd;

// One that is made when the threads are there (PIDFD_THREAD, not of the main thread).
bool is_made_late(const SaveState& state, const OpenDescription& description);

}  // namespace ckpt::engine::resource
