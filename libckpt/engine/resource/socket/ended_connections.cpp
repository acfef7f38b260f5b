#include "engine/resource/socket/ended_connections.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <string>

#include "base/file_io.h"
#include "base/parse.h"

namespace ckpt::engine::resource {
namespace {

// Of include/net/tcp_states.h: FIN_WAIT1, FIN_WAIT2, TIME_WAIT, LAST_ACK, CLOSING.
constexpr std::array<std::uint64_t, 5> kEndedStates{4, 5, 6, 9, 11};

// The number behind the last colon of "0100007F:1F90".
bool is_at_port(const std::string& address, std::uint16_t port) {
  std::size_t colon = address.rfind(':');
  return colon != std::string::npos &&
         parse_unsigned(std::string_view(address).substr(colon + 1), 16) == port;
}

}  // namespace

bool only_ended_connections_at(const SocketAddress& address) {
  bool found = false;
  std::istringstream lines(read_file("/proc/net/tcp") + read_file("/proc/net/tcp6"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string number, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    fields >> number >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
    if (!is_at_port(local, address.port())) continue;
    bool has_ended = inode == "0" && std::ranges::any_of(kEndedStates, [&](std::uint64_t ended) {
                       return parse_unsigned(state, 16) == ended;
                     });
    if (!has_ended) return false;
    found = true;
  }
  return found;
}

}  // namespace ckpt::engine::resource
