#include <fmt/format.h>

#include <algorithm>

#include "engine/resource/descriptors.h"
#include "engine/resource/socket/inet_connections.h"
#include "engine/resource/socket/unix_rebuild.h"

namespace ckpt::engine {
namespace resource {
namespace {

// As the agent wrote it down, of whichever descriptor.
std::string host_of(const image::ProcessT& process, std::uint64_t inode) {
  for (const auto& descriptor : process.descriptors) {
    if (!descriptor->origin || descriptor->origin->host.empty()) continue;
    const auto& description = process.descriptions.at(static_cast<std::size_t>(descriptor->description));
    const InetDetail* detail = description->detail.AsInetSocketDetail();
    if (detail != nullptr && detail->inode == inode) return descriptor->origin->host;
  }
  return {};
}

OutsideConnection describe(const image::ProcessT& process, const InetDetail& socket) {
  return {.inode = socket.inode,
          .family = socket.family,
          .peer = peer_of(socket).text(),
          .peer_address = socket.peer,
          .host = host_of(process, socket.inode),
          .open_both_ways = !socket.peer_ended && !socket.sending_ended && !socket.receiving_ended,
          .unread_bytes = socket.received.size()};
}

void add_inet(const image::ProcessT& process, SocketNeeds& needs) {
  std::vector<const InetDetail*> sockets = inet_sockets(process);
  InetConnections connections(sockets);
  for (const InetDetail* socket : sockets) {
    if (is_tcp(*socket) && socket->state == image::InetState::Listening)
      needs.listening.push_back({.inode = socket->inode, .address = local_of(*socket).text()});
    bool accepted = connections.listener_at(local_of(*socket)) != nullptr;
    if (connections.leads_outside(*socket) && !accepted)
      needs.connections.push_back(describe(process, *socket));
    if (socket->kept != nullptr) {
      needs.kept.push_back({.inode = socket->inode,
                            .peer = peer_of(*socket).text(),
                            .host = host_of(process, socket->inode),
                            .socket = socket});
    }
  }
}

void add_unix(const image::ProcessT& process, SocketNeeds& needs) {
  for (const auto& description : process.descriptions) {
    const UnixDetail* detail = description->detail.AsUnixSocketDetail();
    if (detail == nullptr || detail->state != image::UnixState::Listening || !owns_name(*detail)) continue;
    needs.listening.push_back({.inode = detail->inode, .address = SocketAddress(detail->name).text()});
  }
}

}  // namespace
}  // namespace resource

SocketNeeds socket_needs(const image::CheckpointT& checkpoint) {
  SocketNeeds needs;
  resource::add_inet(*checkpoint.process, needs);
  resource::add_unix(*checkpoint.process, needs);
  return needs;
}

OutsideHoldings outside_holdings(const image::CheckpointT& checkpoint) {
  OutsideHoldings holdings{.sockets = socket_needs(checkpoint), .locked_files = {}};
  for (KeptConnection& connection : holdings.sockets.kept) connection.socket = nullptr;
  for (const auto& description : checkpoint.process->descriptions) {
    const auto* file = description->detail.AsRegularFileDetail();
    const auto* directory = description->detail.AsDirectoryDetail();
    if (description->locks.empty() || (file == nullptr && directory == nullptr)) continue;
    holdings.locked_files.push_back(file != nullptr ? file->path : directory->path);
  }
  return holdings;
}

std::vector<std::string> connection_notes(const image::CheckpointT& checkpoint, const SocketPolicy& policy) {
  std::vector<const resource::InetDetail*> sockets = resource::inet_sockets(*checkpoint.process);
  resource::InetConnections connections(sockets);
  auto count = std::ranges::count_if(sockets, [&](const resource::InetDetail* socket) {
    return connections.leads_outside(*socket) && !policy.reconnected.contains(socket->inode);
  });
  if (count == 0) return {};
  bool reset = policy.connections == LostConnections::kReset;
  return {fmt::format("TCP connections to the outside that come back {}: {}",
                      reset ? "reset by their peers" : "closed by their peers", count)};
}

}  // namespace ckpt::engine
