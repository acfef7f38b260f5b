#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

// Unix sockets: stream, datagram, packet; with a name or without.
extern const ResourceKind kUnixSocket;

}  // namespace ckpt::engine::resource
