// Order, and why: connections come first, because their local addresses are often those of listeners, which
// could not be bound for the rendezvous once the listeners are there. Then everything that is only bound,
// listeners last of these. Then what needs others: clients in a listener's queue, datagrams.
//
// A connection to the outside becomes a dead one: it is accepted at its old local address by a rendezvous,
// receives the bytes that waited in it, and loses its peer: by a reset (SO_LINGER 0), which leaves it in the
// very state that a real reset leaves (ECONNRESET once, then end of file and EPIPE), or by a normal close.
//
// One that the caller has connected again takes the place of the old one as it is.
//
// SO_REUSEADDR is set on everything until the end: connections that were cut a moment ago must not keep
// listeners from their ports.
#include "engine/resource/socket/inet_rebuild.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <set>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/socket/queue.h"
#include "engine/resource/socket/rendezvous.h"

namespace ckpt::engine::resource {
namespace {

using image::InetState;

int bind_error(int fd, const SocketAddress& address) {
  return ::bind(fd, address.get(), address.size()) == 0 ? 0 : errno;
}

void close_with_reset(UniqueFd fd) {
  linger at_once{.l_onoff = 1, .l_linger = 0};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) != 0)
    throw_errno("prepare a connection for its reset");
}

// Both ends of a connection within the program.
struct Ends {
  const InetDetail& server;
  const InetDetail& client;
};

class InetRebuild {
 public:
  InetRebuild(const image::CheckpointT& checkpoint, const SocketPolicy& policy)
      : policy_(policy), sockets_(inet_sockets(*checkpoint.process)), connections_(sockets_) {}

  std::map<std::uint64_t, UniqueFd> run() {
    make_connections();
    meeting_points_.clear();
    bind_all();
    listen_all();
    connect_all();
    for (const InetDetail* socket : sockets_) put_datagrams(*socket);
    for (const InetDetail* socket : sockets_) settle(*socket);
    return std::move(made_);
  }

 private:
  bool is_made(const InetDetail& socket) const { return made_.contains(socket.inode); }
  int made(const InetDetail& socket) const { return made_.at(socket.inode).get(); }
  Rendezvous& meeting_point(const InetDetail& socket);
  void make_connections();
  void make_pair(const Ends& ends);
  UniqueFd take_reconnected(const InetDetail& socket) const;
  UniqueFd make_dead(const InetDetail& socket);
  UniqueFd cut_connection(const InetDetail& socket);
  void bind_one(const InetDetail& socket);
  void bind_all();
  void listen_all();
  void connect_all();
  void put_datagrams(const InetDetail& receiver);
  void settle(const InetDetail& socket) const;

  const SocketPolicy& policy_;
  std::vector<const InetDetail*> sockets_;
  InetConnections connections_;
  std::map<std::pair<SocketSort, std::string>, Rendezvous> meeting_points_;
  std::map<std::uint64_t, UniqueFd> made_;
};

Rendezvous& InetRebuild::meeting_point(const InetDetail& socket) {
  SocketAddress local = local_of(socket);
  auto found = meeting_points_.find({sort_of(socket), local.text()});
  if (found == meeting_points_.end()) {
    found =
        meeting_points_.emplace(std::pair(sort_of(socket), local.text()), Rendezvous(sort_of(socket), local))
            .first;
  }
  return found->second;
}

void InetRebuild::make_connections() {
  for (const InetDetail* socket : sockets_) {
    if (!is_tcp(*socket) || is_made(*socket)) continue;
    if (const InetDetail* partner = connections_.partner_of(*socket)) {
      bool accepted = connections_.listener_at(local_of(*socket)) != nullptr;
      make_pair(accepted ? Ends{*socket, *partner} : Ends{*partner, *socket});
    } else if (policy_.reconnected.contains(socket->inode)) {
      made_[socket->inode] = take_reconnected(*socket);
    } else if (connections_.leads_outside(*socket) || socket->state == InetState::Lost) {
      made_[socket->inode] = make_dead(*socket);
    } else if (socket->state == InetState::Connecting) {
      UniqueFd fd = make_refused_connect(sort_of(*socket));
      set_options(fd.get(), socket->options);
      made_[socket->inode] = std::move(fd);
    }
  }
}

// Sent in pieces as large as possible and without delay, so that all of it arrives before the program looks.
void put_received(int sender, const InetDetail& receiver) {
  set_int_option(sender, IPPROTO_TCP, TCP_NODELAY, 1);
  if (put_stream(sender, receiver.received)) return;
  throw Error(fmt::format(
      "the {} bytes waiting in the connection from {} to {} do not fit into the buffers that this user may "
      "make; raise /proc/sys/net/core/wmem_max",
      receiver.received.size(), peer_of(receiver).text(), local_of(receiver).text()));
}

void end_directions(int fd, const InetDetail& socket) {
  if (socket.sending_ended && ::shutdown(fd, SHUT_WR) != 0) throw_errno("end a direction of a connection");
  if (socket.receiving_ended && ::shutdown(fd, SHUT_RD) != 0) throw_errno("end a direction of a connection");
}

void InetRebuild::make_pair(const Ends& ends) {
  Rendezvous::Pair pair = meeting_point(ends.server).meet_at(sort_of(ends.client), local_of(ends.client));
  set_options(pair.accepted.get(), ends.server.options);
  set_options(pair.client.get(), ends.client.options);
  put_received(pair.client.get(), ends.server);
  put_received(pair.accepted.get(), ends.client);
  end_directions(pair.client.get(), ends.client);
  end_directions(pair.accepted.get(), ends.server);
  made_[ends.server.inode] = std::move(pair.accepted);
  made_[ends.client.inode] = std::move(pair.client);
}

// Of MPTCP it cannot be changed any more once it is connected.
void allow_reuse(int fd, int value) {
  if (::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value) == 0) return;
  if (int_option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_MPTCP) throw_errno("set SO_REUSEADDR of a socket");
}

UniqueFd InetRebuild::take_reconnected(const InetDetail& socket) const {
  UniqueFd fd = duplicate(policy_.reconnected.at(socket.inode), "a connection that was made again");
  set_options(fd.get(), socket.options);
  return fd;
}

// Without a loopback interface nothing can be connected; a socket that never was is the nearest to it.
UniqueFd InetRebuild::make_dead(const InetDetail& socket) try {
  return cut_connection(socket);
} catch (const Error&) {
  UniqueFd fd = make_socket(sort_of(socket));
  set_options(fd.get(), socket.options);
  return fd;
}

// A peer that had ended its side properly before the checkpoint still has. Bytes beyond what the new socket's
// buffers take are lost, as they may be with any connection that breaks.
UniqueFd InetRebuild::cut_connection(const InetDetail& socket) {
  Rendezvous::Pair pair =
      meeting_point(socket).meet_at({.family = socket.family, .type = SOCK_STREAM, .protocol = 0}, {});
  set_options(pair.accepted.get(), socket.options);
  allow_reuse(pair.accepted.get(), 1);
  put_stream(pair.client.get(), socket.received);
  bool lost = socket.state == InetState::Lost;
  bool by_close = !lost && (socket.peer_ended || policy_.connections == LostConnections::kEof);
  end_directions(pair.accepted.get(), socket);
  if (by_close) {
    pair.client.reset();
  } else {
    close_with_reset(std::move(pair.client));
  }
  if (lost && !socket.error_pending) int_option(pair.accepted.get(), SOL_SOCKET, SO_ERROR);  // takes it away
  return std::move(pair.accepted);
}

void InetRebuild::bind_one(const InetDetail& socket) {
  bool lost = policy_.lost_addresses.contains(socket.inode);
  BoundSocket bound = bind_again(socket);
  if (bound.error != 0 && !lost && !is_bound_by_chance(socket)) {
    throw Error(
        fmt::format("bind a {} to {} again: {}; end what uses it, and recover again",
                    describe_sort(sort_of(socket)), local_of(socket).text(), describe_errno(bound.error)),
        bound.error);
  }
  made_[socket.inode] = std::move(bound.fd);
}

void InetRebuild::bind_all() {
  for (const InetDetail* socket : sockets_) {
    bool waits_for_listener = is_tcp(*socket) && socket->state == InetState::Connected;
    if (!is_made(*socket) && !waits_for_listener) bind_one(*socket);
  }
}

void InetRebuild::listen_all() {
  for (const InetDetail* socket : sockets_) {
    if (socket->state != InetState::Listening || policy_.lost_addresses.contains(socket->inode)) continue;
    if (::listen(made(*socket), socket->backlog) != 0) {
      int cause = errno;
      throw Error(fmt::format("listen at {} again: {}; end what uses it, and recover again",
                              local_of(*socket).text(), describe_errno(cause)),
                  cause);
    }
  }
}

// Datagram sockets are connected with whomever they were; nobody has to be there.
void InetRebuild::connect_all() {
  for (const InetDetail* socket : sockets_) {
    if (socket->state != InetState::Connected) continue;
    SocketAddress peer = peer_of(*socket);
    if (!is_tcp(*socket)) {
      if (::connect(made(*socket), peer.get(), peer.size()) != 0)
        throw_errno(fmt::format("connect a {} with {} again", describe_sort(sort_of(*socket)), peer.text()));
    } else if (!is_made(*socket)) {
      const InetDetail* listener = connections_.acceptor_of(*socket);
      bool lost = listener == nullptr || policy_.lost_addresses.contains(listener->inode);
      UniqueFd fd = lost ? make_dead(*socket) : connect_from(sort_of(*socket), local_of(*socket), peer);
      set_options(fd.get(), socket->options);
      if (!lost) end_directions(fd.get(), *socket);
      made_[socket->inode] = std::move(fd);
    }
  }
}

// Whoever sent it is asked to send it again; what came from the outside is lost, as datagrams may be.
void InetRebuild::put_datagrams(const InetDetail& receiver) {
  for (const auto& datagram : receiver.datagrams) {
    SocketAddress source(datagram->source);
    for (const InetDetail* sender : sockets_) {
      bool sent_it = sender->type == SOCK_DGRAM && accepts_for(*sender, source);
      if (!sent_it) continue;
      SocketAddress target = SocketAddress::local_of(made(receiver));
      if (target.is_any_host()) target = source.in_family(target.family());
      target.set_port(SocketAddress::local_of(made(receiver)).port());
      target = target.in_family(sender->family);
      ::sendto(made(*sender), datagram->bytes.data(), datagram->bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
               target.get(), target.size());
      break;
    }
  }
}

// One that is not connected is told so, and has its directions ended all the same.
void end_datagrams(int fd, const InetDetail& socket) {
  if (socket.sending_ended) ::shutdown(fd, SHUT_WR);
  if (socket.receiving_ended) ::shutdown(fd, SHUT_RD);
}

void InetRebuild::settle(const InetDetail& socket) const {
  int fd = made(socket);
  if (!is_tcp(socket)) return end_datagrams(fd, socket);
  allow_reuse(fd, saved_option(socket.options, SOL_SOCKET, SO_REUSEADDR, 0));
  set_int_option(fd, IPPROTO_TCP, TCP_NODELAY, saved_option(socket.options, IPPROTO_TCP, TCP_NODELAY, 0));
}

}  // namespace

BoundSocket bind_again(const InetDetail& detail) {
  BoundSocket bound;
  bound.fd = make_socket(sort_of(detail));
  bound.failed_options = set_options(bound.fd.get(), detail.options);
  if (is_tcp(detail)) set_int_option(bound.fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (is_bound(detail)) bound.error = bind_error(bound.fd.get(), local_of(detail));
  return bound;
}

std::map<std::uint64_t, UniqueFd> rebuild_inet_sockets(const image::CheckpointT& checkpoint,
                                                       const SocketPolicy& policy) {
  return InetRebuild(checkpoint, policy).run();
}

}  // namespace ckpt::engine::resource
