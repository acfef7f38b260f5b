#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kPidFd;

}  // namespace ckpt::engine::resource
