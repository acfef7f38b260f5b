#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

// Sockets whose other side is the kernel or the wire: netlink and packet sockets. They are opened again.
extern const ResourceKind kKernelSocket;

}  // namespace ckpt::engine::resource
