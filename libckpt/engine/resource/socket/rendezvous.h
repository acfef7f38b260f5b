// TCP connections that we make with ourselves, over loopback: the only way to sockets in the states of a
// connection that needs no privilege.
#pragma once

#include "base/unique_fd.h"
#include "engine/resource/socket/address.h"
#include "engine/resource/socket/options.h"

namespace ckpt::engine::resource {

// A listening socket of our own. Strangers who find it are turned away.
class Rendezvous {
 public:
  // At `wanted`, so that accepted sockets have that address; elsewhere on loopback if that cannot be had.
  Rendezvous(const SocketSort& sort, const SocketAddress& wanted);

  // Connects `client` (not yet connected) and returns the other end.
  UniqueFd meet(int client);
  // Likewise with a new client, which comes to have the address `wanted` if that is free.
  struct Pair {
    UniqueFd accepted;
    UniqueFd client;
  };
  Pair meet_at(const SocketSort& client_sort, const SocketAddress& wanted);

 private:
  bool try_client(int client, const SocketAddress& address);
  UniqueFd accept_from(const SocketAddress& client);

  UniqueFd listener_;
};

// A socket that learns that its connect(2) was refused as soon as it looks.
UniqueFd make_refused_connect(const SocketSort& sort);

// Connects to a listening socket of the program, from `wanted` if that is free.
UniqueFd connect_from(const SocketSort& sort, const SocketAddress& wanted, const SocketAddress& destination);

}  // namespace ckpt::engine::resource
