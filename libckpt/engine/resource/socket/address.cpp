#include "engine/resource/socket/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/error.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::size_t kMappedPrefix = 12;  // of the 16 bytes of an IPv4 address in IPv6

template <typename Address>
Address as(const sockaddr_storage& storage) {
  Address address{};
  std::memcpy(&address, &storage, sizeof address);
  return address;
}

template <typename Address>
void assign(sockaddr_storage& storage, const Address& address) {
  static_assert(sizeof address <= sizeof storage);
  std::memcpy(&storage, &address, sizeof address);
}

std::string printable_name(const std::string& name) {
  if (name.empty()) return "unnamed";
  return name.front() == '\0' ? "@" + name.substr(1) : name;
}

}  // namespace

SocketAddress::SocketAddress(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return;
  if (bytes.size() > sizeof storage_ || bytes.size() < sizeof(sa_family_t)) {
    throw Error(fmt::format("an address of {} bytes is none; the checkpoint is damaged", bytes.size()));
  }
  std::memcpy(&storage_, bytes.data(), bytes.size());
  length_ = static_cast<socklen_t>(bytes.size());
}

SocketAddress SocketAddress::from(const sockaddr_storage& storage, socklen_t length) {
  SocketAddress address;
  address.storage_ = storage;
  address.length_ = std::min<socklen_t>(length, sizeof storage);
  return address;
}

SocketAddress SocketAddress::local_of(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0)
    throw_errno("read the address of a socket");
  return from(storage, length);
}

std::optional<SocketAddress> SocketAddress::peer_of(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) == 0) return from(storage, length);
  if (errno == ENOTCONN || errno == EOPNOTSUPP) return std::nullopt;
  throw_errno("read the address of a socket's peer");
}

SocketAddress SocketAddress::loopback(int family, std::uint16_t port) {
  SocketAddress address;
  if (family == AF_INET6) {
    sockaddr_in6 inet{};
    inet.sin6_family = AF_INET6;
    inet.sin6_addr = in6addr_loopback;
    assign(address.storage_, inet);
    address.length_ = sizeof inet;
  } else {
    sockaddr_in inet{};
    inet.sin_family = AF_INET;
    inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assign(address.storage_, inet);
    address.length_ = sizeof inet;
  }
  address.set_port(port);
  return address;
}

std::vector<std::uint8_t> SocketAddress::bytes() const {
  const auto* begin = reinterpret_cast<const std::uint8_t*>(&storage_);
  return {begin, begin + length_};
}

std::uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(as<sockaddr_in>(storage_).sin_port);
  return family() == AF_INET6 ? ntohs(as<sockaddr_in6>(storage_).sin6_port) : std::uint16_t{0};
}

void SocketAddress::set_port(std::uint16_t port) {
  if (family() == AF_INET) {
    auto inet = as<sockaddr_in>(storage_);
    inet.sin_port = htons(port);
    assign(storage_, inet);
  } else if (family() == AF_INET6) {
    auto inet = as<sockaddr_in6>(storage_);
    inet.sin6_port = htons(port);
    assign(storage_, inet);
  }
}

bool SocketAddress::is_mapped() const {
  if (family() != AF_INET6) return false;
  auto inet = as<sockaddr_in6>(storage_);
  return IN6_IS_ADDR_V4MAPPED(&inet.sin6_addr) != 0;
}

bool SocketAddress::is_any_host() const {
  if (family() == AF_INET) return as<sockaddr_in>(storage_).sin_addr.s_addr == htonl(INADDR_ANY);
  if (family() != AF_INET6) return false;
  auto inet = as<sockaddr_in6>(storage_);
  if (IN6_IS_ADDR_UNSPECIFIED(&inet.sin6_addr) != 0) return true;
  return is_mapped() && std::all_of(std::begin(inet.sin6_addr.s6_addr) + kMappedPrefix,
                                    std::end(inet.sin6_addr.s6_addr), [](auto byte) { return byte == 0; });
}

SocketAddress SocketAddress::in_family(int wanted) const {
  if (wanted == family()) return *this;
  SocketAddress other = loopback(wanted, port());
  if (wanted == AF_INET && is_mapped()) {
    auto inet6 = as<sockaddr_in6>(storage_);
    auto inet = as<sockaddr_in>(other.storage_);
    std::memcpy(&inet.sin_addr, &inet6.sin6_addr.s6_addr[kMappedPrefix], sizeof inet.sin_addr);
    assign(other.storage_, inet);
  } else if (wanted == AF_INET6 && family() == AF_INET) {
    auto inet = as<sockaddr_in>(storage_);
    auto inet6 = as<sockaddr_in6>(other.storage_);
    inet6.sin6_addr = in6addr_any;
    inet6.sin6_addr.s6_addr[10] = 0xff;
    inet6.sin6_addr.s6_addr[11] = 0xff;
    std::memcpy(&inet6.sin6_addr.s6_addr[kMappedPrefix], &inet.sin_addr, sizeof inet.sin_addr);
    assign(other.storage_, inet6);
  }
  return other;
}

std::string SocketAddress::endpoint() const {
  SocketAddress plain = is_mapped() ? in_family(AF_INET) : *this;
  return plain.text();
}

std::string SocketAddress::unix_name() const {
  constexpr std::size_t kPath = offsetof(sockaddr_un, sun_path);
  if (family() != AF_UNIX || length_ <= kPath) return {};
  std::string name(reinterpret_cast<const char*>(&storage_) + kPath, length_ - kPath);
  if (name.front() == '\0') return name;
  return name.substr(0, name.find('\0'));
}

SocketAddress SocketAddress::of_unix(const std::string& name) {
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  if (name.size() > sizeof local.sun_path) throw Error(fmt::format("'{}' is too long for a socket", name));
  std::ranges::copy(name, std::begin(local.sun_path));
  SocketAddress address;
  assign(address.storage_, local);
  bool is_path = !name.empty() && name.front() != '\0' && name.size() < sizeof local.sun_path;
  address.length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (is_path ? 1 : 0));
  return address;
}

std::string SocketAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> host{};
  switch (family()) {
    case AF_INET: {
      auto inet = as<sockaddr_in>(storage_);
      ::inet_ntop(AF_INET, &inet.sin_addr, host.data(), host.size());
      return fmt::format("{}:{}", host.data(), port());
    }
    case AF_INET6: {
      auto inet = as<sockaddr_in6>(storage_);
      ::inet_ntop(AF_INET6, &inet.sin6_addr, host.data(), host.size());
      return fmt::format("[{}]:{}", host.data(), port());
    }
    case AF_NETLINK: {
      auto netlink = as<sockaddr_nl>(storage_);
      return fmt::format("port {}", netlink.nl_pid);
    }
    case AF_PACKET: {
      auto packet = as<sockaddr_ll>(storage_);
      return fmt::format("interface {}", packet.sll_ifindex);
    }
    default:
      return printable_name(unix_name());
  }
}

}  // namespace ckpt::engine::resource
