#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kEpoll;

// One with EPOLLONESHOT that has reported its event reports nothing more, not even errors, which cannot be
// asked for.
bool has_fired(const image::EpollEntryT& entry);

}  // namespace ckpt::engine::resource
