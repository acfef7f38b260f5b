#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kEventFd;

}  // namespace ckpt::engine::resource
