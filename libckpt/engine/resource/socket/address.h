// Addresses of sockets, of whatever family.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ckpt::engine::resource {

// A sockaddr as the kernel writes it. Empty: none.
class SocketAddress {
 public:
  SocketAddress() = default;
  // Bytes that come from an image: throws Error if they are none of an address.
  explicit SocketAddress(std::span<const std::uint8_t> bytes);

  static SocketAddress local_of(int fd);                // getsockname(2)
  static std::optional<SocketAddress> peer_of(int fd);  // getpeername(2); none if there is no peer
  static SocketAddress from(const sockaddr_storage& storage, socklen_t length);
  static SocketAddress loopback(int family, std::uint16_t port);  // IPv4 or IPv6

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return length_; }
  bool empty() const { return length_ == 0; }
  int family() const { return empty() ? AF_UNSPEC : storage_.ss_family; }
  std::vector<std::uint8_t> bytes() const;
  std::string text() const;  // "127.0.0.1:80", "[::1]:80", "/path", "@abstract", "unnamed"

  // IPv4 and IPv6 only.
  std::uint16_t port() const;
  void set_port(std::uint16_t port);
  bool is_any_host() const;  // 0.0.0.0, ::, or ::ffff:0.0.0.0
  bool is_mapped() const;    // IPv4 spelled in IPv6
  // The same host and port as an address of `family`: only 127.0.0.1 and the like have both spellings.
  SocketAddress in_family(int family) const;
  // Equal for the same host and port, however spelled.
  std::string endpoint() const;

  // Unix only: the name without its terminating zero; it begins with a zero if it is abstract.
  std::string unix_name() const;
  static SocketAddress of_unix(const std::string& name);

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace ckpt::engine::resource
