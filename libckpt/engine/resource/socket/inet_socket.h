#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

// TCP, UDP and raw sockets of IPv4 and IPv6.
extern const ResourceKind kInetSocket;

// After all descriptions were saved: bytes that have left one socket of the program and not reached the other
// yet. Throws Error where they cannot be had.
void save_bytes_under_way(const SaveState& state, image::ProcessT& process);

}  // namespace ckpt::engine::resource
