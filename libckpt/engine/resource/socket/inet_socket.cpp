#include "engine/resource/socket/inet_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/socket/address.h"
#include "engine/resource/socket/ended_connections.h"
#include "engine/resource/socket/inet_connections.h"
#include "engine/resource/socket/inet_rebuild.h"
#include "engine/resource/socket/options.h"
#include "engine/resource/socket/queue.h"

namespace ckpt::engine::resource {
namespace {

using image::InetState;

// enum of include/net/tcp_states.h; that of <netinet/tcp.h> clashes with <linux/tcp.h>.
enum TcpState : std::uint8_t {
  kEstablished = 1,
  kSynSent = 2,
  kSynReceived = 3,
  kFinWait1 = 4,
  kFinWait2 = 5,
  kTimeWait = 6,
  kClosed = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kListening = 10,
  kClosing = 11,
  kNewSynReceived = 12
};

bool matches(const SaveState& state, const OpenDescription& description) {
  std::optional<SocketSort> sort = state.socket_sort_of(description);
  return sort && (sort->family == AF_INET || sort->family == AF_INET6) &&
         (sort->type == SOCK_STREAM || sort->type == SOCK_DGRAM || sort->type == SOCK_RAW);
}

tcp_info read_tcp_info(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) throw_errno("look at a TCP socket");
  return info;
}

short poll_state(int fd) { return poll_now(fd, POLLIN | POLLRDHUP); }

// A socket that never had a connection does not say that its peer hung up; one whose connect(2) was refused
// has never measured a round trip.
InetState state_of_closed(int fd, const tcp_info& info) {
  short events = poll_state(fd);
  if ((events & POLLRDHUP) == 0) return InetState::Unconnected;
  return (events & POLLERR) != 0 && info.tcpi_rtt == 0 ? InetState::Connecting : InetState::Lost;
}

InetState state_of(int fd, const tcp_info& info) {
  switch (info.tcpi_state) {
    case kListening:
      return InetState::Listening;
    case kSynSent:
    case kSynReceived:
    case kNewSynReceived:
      return InetState::Connecting;
    case kClosed:
      return state_of_closed(fd, info);
    case kTimeWait:
      return InetState::Lost;
    default:
      return InetState::Connected;
  }
}

// How many bytes went each way in all. The end of the peer's stream is counted by the kernel as one byte.
TcpProgress progress_of(const tcp_info& info, bool peer_ended) {
  return {.sent = info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes,
          .received = info.tcpi_bytes_received - (peer_ended ? 1 : 0)};
}

void save_tcp(SaveState& state, int fd, InetDetail& detail) {
  tcp_info info = read_tcp_info(fd);
  detail.state = state_of(fd, info);
  if (detail.state == InetState::Listening) detail.backlog = static_cast<std::int32_t>(info.tcpi_sacked);
  if (detail.state != InetState::Connected && detail.state != InetState::Lost) return;
  std::uint8_t stage = info.tcpi_state;
  detail.sending_ended = stage == kFinWait1 || stage == kFinWait2 || stage == kClosing || stage == kLastAck;
  detail.peer_ended = stage == kCloseWait || stage == kLastAck || stage == kClosing;
  state.together.tcp_progress[detail.inode] = progress_of(info, detail.peer_ended);
  detail.error_pending = (poll_state(fd) & POLLERR) != 0;
  detail.receiving_ended =
      !detail.peer_ended && detail.state == InetState::Connected && (poll_state(fd) & POLLRDHUP) != 0;
  detail.received = peek_stream(fd);
}

void save_datagrams(int fd, InetDetail& detail) {
  if (!detail.peer.empty()) detail.state = InetState::Connected;
  short events = poll_state(fd);
  detail.receiving_ended = (events & POLLRDHUP) != 0;
  detail.sending_ended = (events & POLLHUP) != 0;
  if (detail.type != SOCK_DGRAM) return;
  bool error_pending = false;
  for (WaitingMessage& message : peek_messages(fd, error_pending)) {
    auto datagram = std::make_unique<image::DatagramT>();
    datagram->source = message.source.bytes();
    datagram->bytes = std::move(message.bytes);
    detail.datagrams.push_back(std::move(datagram));
  }
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  UniqueFd copy = copy_descriptor(description);
  SocketSort sort = *state.socket_sort_of(description);
  InetDetail detail;
  detail.inode = description.status.st_ino;
  detail.family = sort.family;
  detail.type = sort.type;
  detail.protocol = sort.protocol;
  detail.local = SocketAddress::local_of(copy.get()).bytes();
  if (auto peer = SocketAddress::peer_of(copy.get())) detail.peer = peer->bytes();
  if (is_tcp(detail)) {
    save_tcp(state, copy.get(), detail);
    if (detail.state == InetState::Connected) refuse_urgent_data(copy.get(), description.what());
  } else {
    save_datagrams(copy.get(), detail);
  }
  bool connected = is_tcp(detail) && detail.state != InetState::Listening;
  detail.options = save_options(copy.get(), sort, connected, state.socket_defaults, state.context.notes);
  return as_detail(std::move(detail));
}

std::function<int()> later_trial(const InetDetail& detail, int error) {
  if (error != EADDRINUSE || !is_tcp(detail) || !only_ended_connections_at(local_of(detail))) return nullptr;
  return [&detail] { return bind_again(detail).error; };
}

// Tried now, so that a refusal comes before anything is built. What is taken by then all the same is an error
// of restore.
std::string check(CheckState& state, const image::DescriptionT& description) try {
  const InetDetail& detail = *description.detail.AsInetSocketDetail();
  if (is_tcp(detail) && detail.state != InetState::Listening && detail.state != InetState::Unconnected)
    return {};
  BoundSocket trial = bind_again(detail);
  for (const std::string& option : trial.failed_options) {
    if (state.notes == nullptr) break;
    state.notes->push_back(fmt::format("{} of a {} at {} cannot be set again", option,
                                       describe_sort(sort_of(detail)), local_of(detail).text()));
  }
  if (trial.error == 0 || is_bound_by_chance(detail)) return {};
  state.lost_addresses.push_back({.inode = detail.inode,
                                  .what = describe_sort(sort_of(detail)),
                                  .address = local_of(detail).text(),
                                  .error = trial.error,
                                  .try_again = later_trial(detail, trial.error)});
  return {};
} catch (const Error& error) {
  return error.what();
}

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const InetDetail& detail = *description.detail.AsInetSocketDetail();
  if (!state.inet_sockets_made) {
    state.inet_sockets_made = true;
    for (auto& [inode, fd] : rebuild_inet_sockets(state.checkpoint, state.objects.sockets))
      state.sockets.emplace(inode, state.lift(std::move(fd)));
  }
  return duplicate(state.sockets.at(detail.inode).get(), "a socket");
}

}  // namespace

namespace {

InetDetail& detail_of(image::ProcessT& process, std::uint64_t inode) {
  auto found = std::ranges::find_if(process.descriptions, [&](const auto& description) {
    const InetDetail* detail = description->detail.AsInetSocketDetail();
    return detail != nullptr && detail->inode == inode;
  });
  return *(*found)->detail.AsInetSocketDetail();
}

// One that is only under way in another socket has no number, and stays as it is.
void draw_in(const SaveState& state, InetDetail& receiver, std::uint64_t under_way) {
  auto found = std::ranges::find_if(state.all, [&](const OpenDescription& description) {
    return description.status.st_ino == receiver.inode && S_ISSOCK(description.status.st_mode);
  });
  if (found == state.all.end()) return;
  receiver.received = draw_in_stream(copy_descriptor(*found).get(), under_way);
}

}  // namespace

void save_bytes_under_way(const SaveState& state, image::ProcessT& process) {
  std::vector<const InetDetail*> sockets = inet_sockets(process);
  InetConnections connections(sockets);
  for (const InetDetail* socket : sockets) {
    auto own = state.together.tcp_progress.find(socket->inode);
    const InetDetail* partner = connections.partner_of(*socket);
    bool inside = partner != nullptr || connections.acceptor_of(*socket) != nullptr;
    if (own == state.together.tcp_progress.end() || !inside) continue;
    std::uint64_t arrived = partner != nullptr ? state.together.tcp_progress.at(partner->inode).received : 0;
    std::uint64_t under_way = own->second.sent - std::min(arrived, own->second.sent);
    if (under_way > 0 && partner != nullptr) {
      InetDetail& receiver = detail_of(process, partner->inode);
      std::size_t before = receiver.received.size();
      draw_in(state, receiver, under_way);
      under_way -= std::min<std::uint64_t>(under_way, receiver.received.size() - before);
    }
    if (under_way == 0) continue;
    throw Error(fmt::format(
        "the connection from {} to {}, both in the program, has {} bytes under way for which the receiver "
        "has no "
        "room, or which it has not accepted; try again later, or raise /proc/sys/net/core/rmem_max",
        local_of(*socket).text(), peer_of(*socket).text(), under_way));
  }
}

const ResourceKind kInetSocket{"socket",
                               image::DescriptionDetail::InetSocketDetail,
                               O_NONBLOCK | O_ASYNC | O_APPEND,
                               matches,
                               save,
                               check,
                               restore};

}  // namespace ckpt::engine::resource
