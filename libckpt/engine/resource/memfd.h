#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kMemfd;

}  // namespace ckpt::engine::resource
