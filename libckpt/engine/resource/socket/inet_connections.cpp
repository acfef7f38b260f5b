#include "engine/resource/socket/inet_connections.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>

namespace ckpt::engine::resource {

SocketSort sort_of(const InetDetail& detail) {
  return {.family = detail.family, .type = detail.type, .protocol = detail.protocol};
}

SocketAddress local_of(const InetDetail& detail) { return SocketAddress(detail.local); }
SocketAddress peer_of(const InetDetail& detail) { return SocketAddress(detail.peer); }

bool is_tcp(const InetDetail& detail) { return detail.type == SOCK_STREAM; }

bool is_bound(const InetDetail& detail) {
  SocketAddress local = local_of(detail);
  if (local.empty()) return false;
  if (detail.type == SOCK_RAW) return !local.is_any_host();  // the port is the protocol
  return local.port() != 0 || !local.is_any_host();
}

bool is_bound_by_chance(const InetDetail& detail) {
  return !is_tcp(detail) && detail.state == image::InetState::Connected;
}

bool accepts_for(const InetDetail& listener, const SocketAddress& address) {
  SocketAddress local = local_of(listener);
  if (local.port() != address.port()) return false;
  if (!local.is_any_host()) return local.endpoint() == address.endpoint();
  bool plain_ipv4 = address.family() == AF_INET || address.is_mapped();
  if (listener.family == AF_INET) return plain_ipv4;
  return !plain_ipv4 || saved_option(listener.options, IPPROTO_IPV6, IPV6_V6ONLY, 0) == 0;
}

std::vector<const InetDetail*> inet_sockets(const image::ProcessT& process) {
  std::vector<const InetDetail*> sockets;
  std::set<std::uint64_t> seen;
  for (const auto& description : process.descriptions) {
    const InetDetail* detail = description->detail.AsInetSocketDetail();
    if (detail != nullptr && seen.insert(detail->inode).second) sockets.push_back(detail);
  }
  return sockets;
}

InetConnections::InetConnections(const std::vector<const InetDetail*>& sockets) {
  for (const InetDetail* socket : sockets) {
    if (!is_tcp(*socket)) continue;
    if (socket->state == image::InetState::Listening) listeners_.push_back(socket);
    if (socket->state == image::InetState::Connected)
      connected_[{local_of(*socket).endpoint(), peer_of(*socket).endpoint()}] = socket;
  }
}

// A socket that is connected with itself would have to be both.
const InetDetail* InetConnections::partner_of(const InetDetail& socket) const {
  if (!is_tcp(socket) || socket.state != image::InetState::Connected) return nullptr;
  auto found = connected_.find({peer_of(socket).endpoint(), local_of(socket).endpoint()});
  return found == connected_.end() || found->second == &socket ? nullptr : found->second;
}

const InetDetail* InetConnections::listener_at(const SocketAddress& address) const {
  auto found = std::ranges::find_if(
      listeners_, [&](const InetDetail* listener) { return accepts_for(*listener, address); });
  return found == listeners_.end() ? nullptr : *found;
}

// Only where both addresses are of this machine can it be the program's own listener that is meant; an
// address of another one equals none that a listener is bound to, but "any host" is equal to all.
const InetDetail* InetConnections::acceptor_of(const InetDetail& socket) const {
  if (!is_tcp(socket) || socket.state != image::InetState::Connected || socket.peer_ended) return nullptr;
  if (partner_of(socket) != nullptr) return nullptr;
  SocketAddress local = local_of(socket);
  SocketAddress peer = peer_of(socket);
  SocketAddress local_host = local;
  local_host.set_port(peer.port());
  if (local_host.endpoint() != peer.endpoint()) return nullptr;
  const InetDetail* listener = listener_at(peer);
  return listener != nullptr && local.port() != local_of(*listener).port() ? listener : nullptr;
}

bool InetConnections::leads_outside(const InetDetail& socket) const {
  return is_tcp(socket) && socket.state == image::InetState::Connected && partner_of(socket) == nullptr &&
         acceptor_of(socket) == nullptr;
}

}  // namespace ckpt::engine::resource
