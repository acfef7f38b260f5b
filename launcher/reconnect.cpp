#include "launcher/reconnect.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <vector>

#include "base/error.h"
#include "engine/resource/socket/address.h"

namespace ckpt::launcher {
namespace {

using engine::resource::SocketAddress;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kAnswersWithin{5};

struct Addresses {
  std::vector<SocketAddress> all;
  std::string failure;  // why there are none
};

Addresses addresses_of(const Endpoint& place, int family) {
  addrinfo wanted{};
  wanted.ai_family = family;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = family == AF_INET6 ? AI_V4MAPPED | AI_ALL : 0;
  addrinfo* first = nullptr;
  int failure = ::getaddrinfo(place.host.c_str(), place.port.c_str(), &wanted, &first);
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(first, ::freeaddrinfo);
  if (failure != 0) return {.all = {}, .failure = ::gai_strerror(failure)};
  Addresses found;
  for (const addrinfo* each = first; each != nullptr; each = each->ai_next) {
    sockaddr_storage storage{};
    if (each->ai_addrlen > sizeof storage) continue;
    std::copy_n(reinterpret_cast<const std::byte*>(each->ai_addr), each->ai_addrlen,
                reinterpret_cast<std::byte*>(&storage));
    found.all.push_back(SocketAddress::from(storage, each->ai_addrlen));
  }
  return found;
}

// False at the deadline.
bool wait_until_writable(int socket, Clock::time_point deadline) {
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd one{.fd = socket, .events = POLLOUT, .revents = 0};
    int ready = ::poll(&one, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

// 0, or the errno of what went wrong.
int connect_by(int socket, const SocketAddress& address, Clock::time_point deadline) {
  if (::connect(socket, address.get(), address.size()) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!wait_until_writable(socket, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

int send_by(int socket, const std::string& bytes, Clock::time_point deadline) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    ssize_t now = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (now >= 0) {
      sent += static_cast<std::size_t>(now);
    } else if (errno == EAGAIN) {
      if (!wait_until_writable(socket, deadline)) return ETIMEDOUT;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

bool leads_to(const engine::OutsideConnection& connection, const Endpoint& place) {
  SocketAddress peer(connection.peer_address);
  if (connection.host == place.host && std::to_string(peer.port()) == place.port) return true;
  return std::ranges::any_of(
      addresses_of(place, connection.family).all,
      [&peer](const SocketAddress& address) { return address.endpoint() == peer.endpoint(); });
}

Reconnected reconnect(const Endpoint& place, int family, const std::string& preamble) {
  Addresses addresses = addresses_of(place, family);
  std::string failure = addresses.failure;
  for (const SocketAddress& address : addresses.all) {
    UniqueFd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
    if (!socket) throw_errno("make a TCP socket");
    Clock::time_point deadline = Clock::now() + kAnswersWithin;
    int error = connect_by(socket.get(), address, deadline);
    if (error == 0) error = send_by(socket.get(), preamble, deadline);
    if (error == 0) return {.socket = std::move(socket), .failure = {}};
    failure = describe_errno(error);
  }
  return {.socket = {}, .failure = fmt::format("{}: {}", to_string(place), failure)};
}

}  // namespace ckpt::launcher
