#include "engine/resource/socket/options.h"

#include <arpa/inet.h>
#include <asm/socket.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/if_packet.h>
#include <linux/in6.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace ckpt::engine::resource {
namespace {

constexpr int kSolUdp = IPPROTO_UDP;
constexpr int kPassPidfd = 76;  // SO_PASSPIDFD, Linux 6.5
constexpr int kReceiveBufferLock = 2;
constexpr int kSendBufferLock = 1;

struct Option {
  int level;
  int name;
  std::string_view text;
  bool changes_when_connected = false;
};

// Sizes of buffers and filters are below: their values are not set the way they are read. Not here because no
// call reads them: memberships in multicast groups.
constexpr std::array kOptions{
    Option{SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"},
    Option{SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT"},
    Option{SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"},
    Option{SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST"},
    Option{SOL_SOCKET, SO_DONTROUTE, "SO_DONTROUTE"},
    Option{SOL_SOCKET, SO_LINGER, "SO_LINGER"},
    Option{SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"},
    Option{SOL_SOCKET, SO_NO_CHECK, "SO_NO_CHECK"},
    Option{SOL_SOCKET, SO_MARK, "SO_MARK"},
    Option{SOL_SOCKET, SO_RCVLOWAT, "SO_RCVLOWAT"},
    Option{SOL_SOCKET, SO_RCVTIMEO, "SO_RCVTIMEO"},
    Option{SOL_SOCKET, SO_SNDTIMEO, "SO_SNDTIMEO"},
    Option{SOL_SOCKET, SO_PASSCRED, "SO_PASSCRED"},
    Option{SOL_SOCKET, SO_PASSSEC, "SO_PASSSEC"},
    Option{SOL_SOCKET, kPassPidfd, "SO_PASSPIDFD"},
    Option{SOL_SOCKET, SO_TIMESTAMP, "SO_TIMESTAMP"},
    Option{SOL_SOCKET, SO_TIMESTAMPNS, "SO_TIMESTAMPNS"},
    Option{SOL_SOCKET, SO_TIMESTAMPING, "SO_TIMESTAMPING"},
    Option{SOL_SOCKET, SO_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW"},
    Option{SOL_SOCKET, SO_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW"},
    Option{SOL_SOCKET, SO_RXQ_OVFL, "SO_RXQ_OVFL"},
    Option{SOL_SOCKET, SO_BINDTODEVICE, "SO_BINDTODEVICE"},
    Option{SOL_SOCKET, SO_BUSY_POLL, "SO_BUSY_POLL"},
    Option{SOL_SOCKET, SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE"},
    Option{SOL_SOCKET, SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE"},
    Option{SOL_SOCKET, SO_ZEROCOPY, "SO_ZEROCOPY"},
    Option{SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF"},
    Option{IPPROTO_IP, IP_TOS, "IP_TOS"},
    Option{SOL_SOCKET, SO_PRIORITY, "SO_PRIORITY"},  // after IP_TOS, which changes it
    Option{IPPROTO_IP, IP_TTL, "IP_TTL"},
    Option{IPPROTO_IP, IP_HDRINCL, "IP_HDRINCL"},
    Option{IPPROTO_IP, IP_MTU_DISCOVER, "IP_MTU_DISCOVER"},
    Option{IPPROTO_IP, IP_RECVERR, "IP_RECVERR"},
    Option{IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL"},
    Option{IPPROTO_IP, IP_RECVTOS, "IP_RECVTOS"},
    Option{IPPROTO_IP, IP_RECVOPTS, "IP_RECVOPTS"},
    Option{IPPROTO_IP, IP_RETOPTS, "IP_RETOPTS"},
    Option{IPPROTO_IP, IP_RECVORIGDSTADDR, "IP_RECVORIGDSTADDR"},
    Option{IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO"},
    Option{IPPROTO_IP, IP_FREEBIND, "IP_FREEBIND"},
    Option{IPPROTO_IP, IP_TRANSPARENT, "IP_TRANSPARENT"},
    Option{IPPROTO_IP, IP_MINTTL, "IP_MINTTL"},
    Option{IPPROTO_IP, IP_NODEFRAG, "IP_NODEFRAG"},
    Option{IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"},
    Option{IPPROTO_IP, kLocalPortRange, "IP_LOCAL_PORT_RANGE"},
    Option{IPPROTO_IP, IP_MULTICAST_TTL, "IP_MULTICAST_TTL"},
    Option{IPPROTO_IP, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP"},
    Option{IPPROTO_IP, IP_MULTICAST_IF, "IP_MULTICAST_IF"},
    Option{IPPROTO_IP, IP_MULTICAST_ALL, "IP_MULTICAST_ALL"},
    Option{IPPROTO_IP, IP_UNICAST_IF, "IP_UNICAST_IF"},
    Option{IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY"},
    Option{IPPROTO_IPV6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"},
    Option{IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS"},
    Option{IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP"},
    Option{IPPROTO_IPV6, IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF"},
    Option{IPPROTO_IPV6, IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER"},
    Option{IPPROTO_IPV6, IPV6_RECVERR, "IPV6_RECVERR"},
    Option{IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"},
    Option{IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT"},
    Option{IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS"},
    Option{IPPROTO_IPV6, IPV6_TCLASS, "IPV6_TCLASS"},
    Option{IPPROTO_IPV6, IPV6_DONTFRAG, "IPV6_DONTFRAG"},
    Option{IPPROTO_IPV6, IPV6_FREEBIND, "IPV6_FREEBIND"},
    Option{IPPROTO_IPV6, IPV6_TRANSPARENT, "IPV6_TRANSPARENT"},
    Option{IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY"},
    Option{IPPROTO_TCP, TCP_CORK, "TCP_CORK"},
    Option{IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG", true},
    Option{IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE"},
    Option{IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL"},
    Option{IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT"},
    Option{IPPROTO_TCP, TCP_SYNCNT, "TCP_SYNCNT"},
    Option{IPPROTO_TCP, TCP_LINGER2, "TCP_LINGER2"},
    Option{IPPROTO_TCP, TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"},
    Option{IPPROTO_TCP, TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP", true},
    Option{IPPROTO_TCP, TCP_CONGESTION, "TCP_CONGESTION"},
    Option{IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"},
    Option{IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS"},
    Option{IPPROTO_TCP, TCP_FASTOPEN, "TCP_FASTOPEN"},
    Option{IPPROTO_TCP, TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT"},
    Option{IPPROTO_TCP, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT"},
    Option{IPPROTO_TCP, TCP_SAVE_SYN, "TCP_SAVE_SYN"},
    Option{IPPROTO_TCP, TCP_INQ, "TCP_INQ"},
    Option{kSolUdp, UDP_CORK, "UDP_CORK"},
    Option{kSolUdp, UDP_SEGMENT, "UDP_SEGMENT"},
    Option{kSolUdp, UDP_GRO, "UDP_GRO"},
    Option{IPPROTO_RAW, ICMP_FILTER, "ICMP_FILTER"},
    Option{SOL_PACKET, PACKET_AUXDATA, "PACKET_AUXDATA"},
    Option{SOL_PACKET, PACKET_ORIGDEV, "PACKET_ORIGDEV"},
    Option{SOL_PACKET, PACKET_VERSION, "PACKET_VERSION"},
    Option{SOL_PACKET, PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING"},
    Option{kSolNetlink, NETLINK_PKTINFO, "NETLINK_PKTINFO"},
    Option{kSolNetlink, NETLINK_BROADCAST_ERROR, "NETLINK_BROADCAST_ERROR"},
    Option{kSolNetlink, NETLINK_NO_ENOBUFS, "NETLINK_NO_ENOBUFS"},
    Option{kSolNetlink, NETLINK_LISTEN_ALL_NSID, "NETLINK_LISTEN_ALL_NSID"},
    Option{kSolNetlink, NETLINK_CAP_ACK, "NETLINK_CAP_ACK"},
    Option{kSolNetlink, NETLINK_EXT_ACK, "NETLINK_EXT_ACK"},
    Option{kSolNetlink, NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK"},
};

// Whether a socket of this sort can have an option of this level: IPV6 sockets have those of IPv4 too.
bool has_level(const SocketSort& sort, int level) {
  bool inet = sort.family == AF_INET || sort.family == AF_INET6;
  switch (level) {
    case SOL_SOCKET:
      return true;
    case IPPROTO_IP:
      return inet;
    case IPPROTO_IPV6:
      return sort.family == AF_INET6;
    case IPPROTO_TCP:
      return inet && sort.type == SOCK_STREAM;
    case IPPROTO_UDP:
      return inet && sort.type == SOCK_DGRAM && sort.protocol == IPPROTO_UDP;
    case IPPROTO_RAW:
      return sort.family == AF_INET && sort.type == SOCK_RAW && sort.protocol == IPPROTO_ICMP;
    case SOL_PACKET:
      return sort.family == AF_PACKET;
    case kSolNetlink:
      return sort.family == AF_NETLINK;
    default:
      return false;
  }
}

// Empty if the socket has no such option.
std::vector<std::uint8_t> read_option(int fd, int level, int name) {
  std::array<std::uint8_t, 64> value{};
  socklen_t length = value.size();
  if (::getsockopt(fd, level, name, value.data(), &length) != 0) return {};
  return {value.begin(), value.begin() + length};
}

void add(SocketOptions& options, int level, int name, std::vector<std::uint8_t> value) {
  auto option = std::make_unique<image::SocketOptionT>();
  option->level = level;
  option->name = name;
  option->value = std::move(value);
  options.push_back(std::move(option));
}

std::vector<std::uint8_t> bytes_of(int value) {
  std::vector<std::uint8_t> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// The kernel doubles what is asked for, and grows what was not asked for by itself.
void save_buffer_sizes(int fd, SocketOptions& options) {
  int locks = int_option(fd, SOL_SOCKET, kBufferLocks);
  if ((locks & kSendBufferLock) != 0)
    add(options, SOL_SOCKET, SO_SNDBUF, bytes_of(int_option(fd, SOL_SOCKET, SO_SNDBUF) / 2));
  if ((locks & kReceiveBufferLock) != 0)
    add(options, SOL_SOCKET, SO_RCVBUF, bytes_of(int_option(fd, SOL_SOCKET, SO_RCVBUF) / 2));
}

// For SO_GET_FILTER a length counts instructions.
void save_filter(int fd, SocketOptions& options, std::vector<std::string>& notes) {
  socklen_t count = 0;
  if (::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &count) != 0) {
    if (errno == EACCES)
      notes.emplace_back("a socket has a BPF filter, which cannot be read; it comes back without");
    return;
  }
  if (count == 0) return;
  std::vector<std::uint8_t> program(count * sizeof(sock_filter));
  if (::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, program.data(), &count) != 0)
    throw_errno("read the filter of a socket");
  add(options, SOL_SOCKET, SO_ATTACH_FILTER, std::move(program));
  if (int_option(fd, SOL_SOCKET, SO_LOCK_FILTER) != 0) add(options, SOL_SOCKET, SO_LOCK_FILTER, bytes_of(1));
}

int set_filter(int fd, std::vector<std::uint8_t> bytes) {
  std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
  std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
  sock_fprog filter{.len = static_cast<unsigned short>(program.size()), .filter = program.data()};
  return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

bool set_option(int fd, const image::SocketOptionT& option) {
  if (option.level == SOL_SOCKET && option.name == SO_ATTACH_FILTER) return set_filter(fd, option.value) == 0;
  if (read_option(fd, option.level, option.name) == option.value) return true;
  return ::setsockopt(fd, option.level, option.name, option.value.data(),
                      static_cast<socklen_t>(option.value.size())) == 0;
}

std::string name_of(const image::SocketOptionT& option) {
  for (const Option& known : kOptions) {
    if (known.level == option.level && known.name == option.name) return std::string(known.text);
  }
  return fmt::format("option {} of level {}", option.name, option.level);
}

}  // namespace

int int_option(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, level, name, &value, &length) == 0) return value;
  if (errno == ENOPROTOOPT || errno == EOPNOTSUPP) return 0;
  throw_errno("look at a socket");
}

void set_int_option(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) throw_errno("set an option of a socket");
}

SocketSort sort_of(int fd) {
  return {.family = int_option(fd, SOL_SOCKET, SO_DOMAIN),
          .type = int_option(fd, SOL_SOCKET, SO_TYPE),
          .protocol = int_option(fd, SOL_SOCKET, SO_PROTOCOL)};
}

std::string describe_sort(const SocketSort& sort) {
  if (sort.family == AF_UNIX) {
    if (sort.type == SOCK_STREAM) return "UNIX stream socket";
    return sort.type == SOCK_DGRAM ? "UNIX datagram socket" : "UNIX packet socket";
  }
  if (sort.family == AF_INET || sort.family == AF_INET6) {
    if (sort.type == SOCK_STREAM) return "TCP socket";
    return sort.type == SOCK_DGRAM ? "UDP socket" : "raw IP socket";
  }
  if (sort.family == AF_PACKET) return "packet socket";
  return sort.family == AF_NETLINK ? "netlink socket" : fmt::format("socket of family {}", sort.family);
}

UniqueFd make_socket(const SocketSort& sort) {
  UniqueFd fd(::socket(sort.family, sort.type | SOCK_CLOEXEC | SOCK_NONBLOCK, sort.protocol));
  if (!fd) throw_errno(fmt::format("make a {}", describe_sort(sort)));
  return fd;
}

const SocketDefaults::Values& SocketDefaults::of(const SocketSort& sort) {
  auto [known, is_new] = values_.try_emplace(sort);
  if (!is_new) return known->second;
  UniqueFd fd = make_socket(sort);
  for (const Option& option : kOptions) {
    known->second.push_back(has_level(sort, option.level) ? read_option(fd.get(), option.level, option.name)
                                                          : std::vector<std::uint8_t>());
  }
  return known->second;
}

SocketOptions save_options(int fd, const SocketSort& sort, bool connected, SocketDefaults& defaults,
                           std::vector<std::string>& notes) {
  SocketOptions saved;
  const SocketDefaults::Values& values = defaults.of(sort);
  for (std::size_t i = 0; i < kOptions.size(); ++i) {
    const Option& option = kOptions.at(i);
    if (!has_level(sort, option.level) || (connected && option.changes_when_connected)) continue;
    std::vector<std::uint8_t> value = read_option(fd, option.level, option.name);
    if (value != values[i]) add(saved, option.level, option.name, std::move(value));
  }
  save_buffer_sizes(fd, saved);
  save_filter(fd, saved, notes);
  return saved;
}

std::vector<std::string> set_options(int fd, const SocketOptions& options) {
  std::vector<std::string> failed;
  for (const auto& option : options) {
    if (!set_option(fd, *option)) failed.push_back(name_of(*option));
  }
  return failed;
}

int saved_option(const SocketOptions& options, int level, int name, int otherwise) {
  for (const auto& option : options) {
    int value = 0;
    if (option->level != level || option->name != name || option->value.size() != sizeof value) continue;
    std::memcpy(&value, option->value.data(), sizeof value);
    return value;
  }
  return otherwise;
}

}  // namespace ckpt::engine::resource
