// IPv4 and IPv6 sockets of a program, made again.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/socket/inet_connections.h"

namespace ckpt::engine::resource {

struct BoundSocket {
  UniqueFd fd;
  int error = 0;  // why it is not bound as before
  std::vector<std::string> failed_options;
};

// A new socket with the options and the local address of `detail`; SO_REUSEADDR is set on TCP sockets.
BoundSocket bind_again(const InetDetail& detail);

// All of them, by inode.
std::map<std::uint64_t, UniqueFd> rebuild_inet_sockets(const image::CheckpointT& checkpoint,
                                                       const SocketPolicy& policy);

}  // namespace ckpt::engine::resource
