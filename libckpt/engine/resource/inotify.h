#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kInotify;

}  // namespace ckpt::engine::resource
