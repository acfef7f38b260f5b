// Descriptions of our own for what the program has open, and the way back from an object to its descriptor.
#pragma once

#include "base/unique_fd.h"
#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

// A description of our own, or none where the file's permissions do not allow it.
UniqueFd open_own(const OpenDescription& description, int flags);

// A descriptor that can be read with pread: our own, or else a copy of the program's.
UniqueFd open_for_copy(const OpenDescription& description);

// The descriptor of object `index`, or Error.
int object_descriptor(const RestoreObjects& objects, std::int32_t index);

}  // namespace ckpt::engine::resource
