#pragma once

#include <vector>

#include "engine/resource/resource_kinds.h"
#include "engine/resource/socket/tcp_repair.h"

namespace ckpt::engine::resource {

// After all descriptions were saved: silences the TCP connections with the outside that can go on in a
// recovered program, and saves what they need for that. The others are notes for the user. Throws Error if
// this process may not do that.
std::vector<SilencedConnection> silence_connections(const SaveState& state, image::ProcessT& process);

}  // namespace ckpt::engine::resource
