#include "engine/resource/socket/silence_connections.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "engine/resource/socket/inet_connections.h"

namespace ckpt::engine::resource {
namespace {

// Empty for a socket that is only under way in another one.
UniqueFd copy_of(const SaveState& state, std::uint64_t inode) {
  auto found = std::ranges::find_if(state.all, [inode](const OpenDescription& description) {
    return description.status.st_ino == inode && S_ISSOCK(description.status.st_mode);
  });
  return found == state.all.end() ? UniqueFd() : copy_descriptor(*found);
}

bool is_open_both_ways(const InetDetail& socket) {
  return !socket.sending_ended && !socket.receiving_ended && !socket.peer_ended;
}

void silence(const SaveState& state, InetDetail& socket, std::vector<SilencedConnection>& silenced) {
  UniqueFd copy = copy_of(state, socket.inode);
  std::string why = !copy                        ? "it is on its way in another socket"
                    : !is_open_both_ways(socket) ? "one end has closed its direction"
                                                 : unfit_for_repair(copy.get());
  if (why.empty()) {
    SilencedConnection connection(std::move(copy));
    if (connection.is_established()) {
      connection.read(socket);
      silenced.push_back(std::move(connection));
      return;
    }
    why = "it is just being closed";
  }
  state.context.notes.push_back(
      fmt::format("the connection with {} cannot go on after a recover: {}", peer_of(socket).text(), why));
}

}  // namespace

std::vector<SilencedConnection> silence_connections(const SaveState& state, image::ProcessT& process) {
  std::vector<SilencedConnection> silenced;
  std::vector<const InetDetail*> sockets = inet_sockets(process);
  InetConnections connections(sockets);
  for (auto& description : process.descriptions) {
    InetDetail* socket = description->detail.AsInetSocketDetail();
    if (socket != nullptr && connections.leads_outside(*socket)) silence(state, *socket, silenced);
  }
  return silenced;
}

}  // namespace ckpt::engine::resource
