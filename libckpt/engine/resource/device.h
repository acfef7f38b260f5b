#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kDevice;

}  // namespace ckpt::engine::resource
