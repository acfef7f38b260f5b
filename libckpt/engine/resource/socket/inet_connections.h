// Which TCP sockets of a program are connected with each other, and which with the outside.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/resource/socket/address.h"
#include "engine/resource/socket/options.h"
#include "image_generated.h"

namespace ckpt::engine::resource {

using InetDetail = image::InetSocketDetailT;

SocketSort sort_of(const InetDetail& detail);
SocketAddress local_of(const InetDetail& detail);
SocketAddress peer_of(const InetDetail& detail);
bool is_tcp(const InetDetail& detail);
bool is_bound(const InetDetail& detail);  // to anything but "any host, any port"
// To an address that the kernel may have chosen, and that nobody else expects: it need not be the same again.
bool is_bound_by_chance(const InetDetail& detail);
bool accepts_for(const InetDetail& listener, const SocketAddress& address);

// All IPv4 and IPv6 sockets of a process, each once, in the order of their descriptions.
std::vector<const InetDetail*> inet_sockets(const image::ProcessT& process);

class InetConnections {
 public:
  explicit InetConnections(const std::vector<const InetDetail*>& sockets);

  // The other end of a connected TCP socket; null if it is outside.
  const InetDetail* partner_of(const InetDetail& socket) const;
  // Who will accept this connected socket, whose other end nobody has accepted yet; null if it is outside.
  const InetDetail* acceptor_of(const InetDetail& socket) const;
  const InetDetail* listener_at(const SocketAddress& address) const;
  bool leads_outside(const InetDetail& socket) const;

 private:
  std::map<std::pair<std::string, std::string>, const InetDetail*> connected_;
  std::vector<const InetDetail*> listeners_;
};

}  // namespace ckpt::engine::resource
