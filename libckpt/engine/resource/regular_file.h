#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kRegularFile;

}  // namespace ckpt::engine::resource
