// What is left of connections after their ends: the kernel keeps it for a minute (TIME_WAIT), and for as long
// nobody can bind to their port whose program did not set SO_REUSEADDR when it made them.
#pragma once

#include "engine/resource/socket/address.h"

namespace ckpt::engine::resource {

// Whether that, and nothing else that the kernel shows, is at the port of a TCP address.
bool only_ended_connections_at(const SocketAddress& address);

}  // namespace ckpt::engine::resource
