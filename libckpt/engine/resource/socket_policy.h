// What becomes of sockets whose other end, or whose address, is not there any more.
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace ckpt::engine {

// What a connection to the outside, which is lost, comes back as.
enum class LostConnections {
  kReset,  // as if the peer had reset it: ECONNRESET once, then end of file, EPIPE
  kEof     // as if the peer had closed it
};

struct SocketPolicy {
  LostConnections connections = LostConnections::kReset;
  // Sockets (by inode) whose addresses are given up: they come back unbound and do not listen.
  std::set<std::uint64_t> lost_addresses = {};
};

// An address at which the program was expected, and which cannot be had now.
struct LostAddress {
  std::uint64_t inode = 0;  // of the socket: for SocketPolicy.lost_addresses
  std::string what;         // "TCP socket"
  std::string address;
  int error = 0;
  int descriptor = -1;  // the lowest that refers to the socket
};

}  // namespace ckpt::engine
