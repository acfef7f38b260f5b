#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kMessageQueue;

}  // namespace ckpt::engine::resource
