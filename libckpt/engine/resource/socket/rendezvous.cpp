#include "engine/resource/socket/rendezvous.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "base/error.h"

namespace ckpt::engine::resource {
namespace {

constexpr int kBacklog = 64;
constexpr int kDeadlineMs = 10'000;  // over loopback: long past any doubt

bool wait_for(int fd, short events) {
  pollfd one{.fd = fd, .events = events, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&one, 1, kDeadlineMs);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

bool bind_to(int fd, const SocketAddress& address) { return ::bind(fd, address.get(), address.size()) == 0; }

// The host is fixed now, the port at connect(2), which has weaker demands: the remains of an older connection
// (TIME_WAIT) are in its way only if they have the same other end.
void prefer_port(int fd, const SocketAddress& address) {
  SocketAddress host = address;
  host.set_port(0);
  int on = 1;
  ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (!bind_to(fd, host)) return;
  std::uint32_t range = address.port() | (static_cast<std::uint32_t>(address.port()) << 16U);
  ::setsockopt(fd, IPPROTO_IP, kLocalPortRange, &range, sizeof range);
}

void forget_preferences(int fd) {
  std::uint32_t range = 0;
  int off = 0;
  ::setsockopt(fd, IPPROTO_IP, kLocalPortRange, &range, sizeof range);
  ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &off, sizeof off);
}

// 0, or what is in the way.
int connect_now(int fd, const SocketAddress& destination) {
  if (::connect(fd, destination.get(), destination.size()) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!wait_for(fd, POLLOUT)) return ETIMEDOUT;
  return int_option(fd, SOL_SOCKET, SO_ERROR);
}

}  // namespace

Rendezvous::Rendezvous(const SocketSort& sort, const SocketAddress& wanted) {
  // Where IPv4 is spelled in IPv6, so must be what takes its place.
  SocketAddress anywhere = SocketAddress::loopback(wanted.is_mapped() ? AF_INET : sort.family, 0);
  for (const SocketAddress& address : {wanted, anywhere.in_family(sort.family)}) {
    listener_ = make_socket(sort);
    set_int_option(listener_.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (!address.empty() && bind_to(listener_.get(), address) && ::listen(listener_.get(), kBacklog) == 0)
      return;
  }
  throw_errno(fmt::format("make a {} listen on loopback", describe_sort(sort)));
}

UniqueFd Rendezvous::accept_from(const SocketAddress& client) {
  for (;;) {
    if (!wait_for(listener_.get(), POLLIN))
      throw Error("a connection over loopback was not accepted in time");
    UniqueFd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!accepted && errno != EAGAIN && errno != ECONNABORTED)
      throw_errno("accept a connection over loopback");
    if (!accepted) continue;
    std::optional<SocketAddress> peer = SocketAddress::peer_of(accepted.get());
    if (peer && peer->endpoint() == client.endpoint()) return accepted;
  }
}

UniqueFd Rendezvous::meet(int client) {
  int family = sort_of(client).family;
  int problem = connect_now(client, SocketAddress::local_of(listener_.get()).in_family(family));
  if (problem != 0) throw_errno("connect over loopback", problem);
  return accept_from(SocketAddress::local_of(client));
}

Rendezvous::Pair Rendezvous::meet_at(const SocketSort& client_sort, const SocketAddress& wanted) {
  SocketAddress here = SocketAddress::local_of(listener_.get()).in_family(client_sort.family);
  Pair pair;
  pair.client = connect_from(client_sort, wanted, here);
  pair.accepted = accept_from(SocketAddress::local_of(pair.client.get()));
  return pair;
}

UniqueFd connect_from(const SocketSort& sort, const SocketAddress& wanted, const SocketAddress& destination) {
  int problem = 0;
  for (bool prefer : {true, false}) {
    if (prefer && wanted.empty()) continue;
    UniqueFd client = make_socket(sort);
    if (prefer) {
      set_int_option(client.get(), SOL_SOCKET, SO_REUSEADDR, 1);
      if (!bind_to(client.get(), wanted)) prefer_port(client.get(), wanted);
    }
    problem = connect_now(client.get(), destination);
    if (prefer) forget_preferences(client.get());
    if (problem == 0) return client;
  }
  throw_errno(fmt::format("connect to {} again", destination.text()), problem);
}

// Nobody can listen where a socket is bound that does not listen itself. The refusal arrives while connect(2)
// still holds the socket, which therefore returns EINPROGRESS and leaves the error for whoever asks next.
UniqueFd make_refused_connect(const SocketSort& sort) {
  UniqueFd silent = make_socket({.family = sort.family, .type = SOCK_STREAM, .protocol = 0});
  if (!bind_to(silent.get(), SocketAddress::loopback(sort.family, 0))) throw_errno("bind to loopback");
  SocketAddress address = SocketAddress::local_of(silent.get());
  UniqueFd fd = make_socket(sort);
  if (::connect(fd.get(), address.get(), address.size()) != 0 && errno != EINPROGRESS &&
      errno != ECONNREFUSED)
    throw_errno("have a connection refused over loopback");
  return fd;
}

}  // namespace ckpt::engine::resource
