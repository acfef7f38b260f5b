// What becomes of sockets whose other end, or whose address, is not there any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace ckpt::image {
struct InetSocketDetailT;
}

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
  // Connected sockets of the caller that take the place of connections to the outside, by their inodes. They
  // stay the caller's.
  std::map<std::uint64_t, int> reconnected = {};
};

// An address at which the program was expected, and which cannot be had now.
struct LostAddress {
  std::uint64_t inode = 0;  // of the socket: for SocketPolicy.lost_addresses
  std::string what;         // "TCP socket"
  std::string address;
  int error = 0;
  int descriptor = -1;  // the lowest that refers to the socket
  // Set if nothing is in the way but connections that have ended, which the kernel forgets within a minute:
  // tries again, and returns the error that there is now, 0 if the address can be had. Not after
  // look_outside.
  std::function<int()> try_again = nullptr;
};

// Where the program listens.
struct ListeningAddress {
  std::uint64_t inode = 0;
  std::string address;  // "127.0.0.1:80", "/path", "@abstract"
};

// A TCP connection with somebody outside that the program has made itself (that it did not accept).
struct OutsideConnection {
  std::uint64_t inode = 0;
  int family = 0;
  std::string peer;                        // "127.0.0.1:80"
  std::vector<std::uint8_t> peer_address;  // struct sockaddr
  std::string host;                        // the name by which the program found it; empty: unknown
  bool open_both_ways = false;             // neither end has ended its direction
  std::size_t unread_bytes = 0;            // have arrived, and the program has not read them
};

// A TCP connection with somebody outside that can go on (resource::RevivedConnection).
struct KeptConnection {
  std::uint64_t inode = 0;
  std::string peer;
  std::string host = {};                             // as above
  const image::InetSocketDetailT* socket = nullptr;  // of the checkpoint
};

// What the sockets of a checkpoint need of the world around it.
struct SocketNeeds {
  std::vector<ListeningAddress> listening;
  std::vector<OutsideConnection> connections;
  std::vector<KeptConnection> kept = {};    // may be among `connections`, too
  std::vector<LostAddress> lost_addresses;  // of any kind of socket, listening or not
};

// What a program holds outside of itself.
struct OutsideHoldings {
  SocketNeeds sockets;  // without anything that refers to a checkpoint
  std::vector<std::string> locked_files;
};

}  // namespace ckpt::engine
