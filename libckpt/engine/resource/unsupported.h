#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

// Says what a descriptor is that no kind matches, and what to do.
[[noreturn]] void refuse_unsupported(const SaveState& state, const OpenDescription& description);

}  // namespace ckpt::engine::resource
