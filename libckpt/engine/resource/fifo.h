#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kFifo;

}  // namespace ckpt::engine::resource
