// Hard rules:
//  1. Silence comes first, then reading: what arrives after its state was read would be acknowledged and
//  lost.
//  2. Between silence and speech a program does not run: in repair mode its calls fail.
//  3. Sequence numbers are set before the new socket is bound and connected, options before anything is sent,
//     the window last (the kernel refuses any other order).
#include "engine/resource/socket/tcp_repair.h"

#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/error.h"
#include "engine/resource/socket/address.h"
#include "engine/resource/socket/options.h"
#include "engine/resource/socket/queue.h"

namespace ckpt::engine::resource {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr int kEstablished = 1;     // TCP_ESTABLISHED of <netinet/tcp.h>, which clashes with <linux/tcp.h>
constexpr int kUpperProtocol = 31;  // TCP_ULP
constexpr std::uint32_t kOptionMaximumSegment = 2;  // TCPOPT_*, RFC 9293 and 7323
constexpr std::uint32_t kOptionWindowScale = 3;
constexpr std::uint32_t kOptionSelectiveAcknowledgement = 4;
constexpr std::uint32_t kOptionTimestamps = 8;
constexpr std::size_t kLargestPiece = 16 << 10;  // the kernel puts each into one piece of memory
constexpr std::int64_t kLongestJump_ms = 600'000;
constexpr int kMostAttempts = 1000;

void set_repair(int fd, int mode) { set_int_option(fd, IPPROTO_TCP, TCP_REPAIR, mode); }

// Of this queue the next calls are about.
void choose_queue(int fd, int queue) { set_int_option(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue); }

std::uint32_t sequence(int fd) {
  return static_cast<std::uint32_t>(int_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ));
}

// Drops every packet for this socket, before the kernel has looked into it. The kernel forgets SO_REUSEADDR
// with repair mode; the length of the filter, whose first instruction decides, tells it to whoever ends the
// silence.
void stop_listening(int fd, bool reuses_address) {
  std::array<sock_filter, 2> drop_all{{BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0)}};
  sock_fprog program{.len = static_cast<unsigned short>(reuses_address ? 2 : 1), .filter = drop_all.data()};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    throw_errno("attach a filter to a TCP connection");
}

void listen_again(int fd) {
  socklen_t filter_length = 0;
  if (::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &filter_length) != 0)
    throw_errno("look at the filter of a TCP connection");
  set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, filter_length == 2 ? 1 : 0);
  set_int_option(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
}

template <typename Value>
Value read_option(int fd, int name, const char* what) {
  Value value{};
  socklen_t length = sizeof value;
  if (::getsockopt(fd, IPPROTO_TCP, name, &value, &length) != 0) throw_errno(what);
  return value;
}

tcp_info read_info(int fd) { return read_option<tcp_info>(fd, TCP_INFO, "look at a TCP connection"); }

std::size_t count_bytes(int fd, unsigned long request) {
  int count = 0;
  if (::ioctl(fd, request, &count) != 0) throw_errno("count the bytes that a TCP connection is to send");
  return static_cast<std::size_t>(std::max(count, 0));
}

// What was on its way into the socket when the filter came may still arrive.
Bytes read_received(int fd, std::uint32_t& end) {
  choose_queue(fd, TCP_RECV_QUEUE);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    end = sequence(fd);
    Bytes bytes = peek_stream(fd);
    if (sequence(fd) == end) return bytes;
  }
  throw Error("a TCP connection does not come to rest; try again");
}

// The first piece of the queue may begin with bytes that have been acknowledged.
Bytes peek_to_send(int fd, std::size_t count) {
  if (count == 0) return {};
  choose_queue(fd, TCP_SEND_QUEUE);
  constexpr std::size_t kAcknowledged = 1 << 20;
  Bytes bytes(count + kAcknowledged);
  ssize_t got = ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) throw_errno("read what a TCP connection is to send");
  bytes.resize(static_cast<std::size_t>(got));
  if (bytes.size() < count) throw Error("a TCP connection hides what it is to send");
  bytes.erase(bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(count));
  return bytes;
}

void add_option(image::KeptConnectionT& kept, std::uint32_t code, std::uint32_t value) {
  auto option = std::make_unique<image::KeptTcpOptionT>();
  option->code = code;
  option->value = value;
  kept.options.push_back(std::move(option));
}

void read_options(int fd, image::KeptConnectionT& kept) {
  tcp_info info = read_info(fd);
  if ((info.tcpi_options & TCPI_OPT_SACK) != 0) add_option(kept, kOptionSelectiveAcknowledgement, 0);
  if ((info.tcpi_options & TCPI_OPT_WSCALE) != 0) {
    std::uint32_t receiving = info.tcpi_rcv_wscale;
    add_option(kept, kOptionWindowScale, info.tcpi_snd_wscale | (receiving << 16));
  }
  if ((info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0) add_option(kept, kOptionTimestamps, 0);
  // In repair mode this is what the peer said, not what fits at the moment.
  add_option(kept, kOptionMaximumSegment,
             static_cast<std::uint32_t>(int_option(fd, IPPROTO_TCP, TCP_MAXSEG)));
  kept.timestamp = static_cast<std::uint32_t>(int_option(fd, IPPROTO_TCP, TCP_TIMESTAMP));
}

// Returns how many bytes from the first unacknowledged one on the peer has room for.
std::size_t read_window(int fd, image::KeptConnectionT& kept) {
  auto window = read_option<tcp_repair_window>(fd, TCP_REPAIR_WINDOW, "read the window of a TCP connection");
  kept.window.resize(sizeof window);
  std::memcpy(kept.window.data(), &window, sizeof window);
  return window.snd_wnd;
}

// ---- making it again

void set_sequence(int fd, int queue, std::uint32_t value) {
  choose_queue(fd, queue);
  set_int_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, static_cast<int>(value));
}

void connect_in_repair(int fd, const image::InetSocketDetailT& detail) {
  SocketAddress local(detail.local);
  SocketAddress peer(detail.peer);
  if (::bind(fd, local.get(), local.size()) != 0)
    throw_errno(fmt::format("bind a TCP connection to {} again", local.text()));
  if (::connect(fd, peer.get(), peer.size()) != 0)
    throw_errno(fmt::format("connect {} with {} again", local.text(), peer.text()));
}

void write_options(int fd, const image::KeptConnectionT& kept, std::int64_t since_checkpoint_ms) {
  std::vector<tcp_repair_opt> options;
  for (const auto& option : kept.options)
    options.push_back({.opt_code = option->code, .opt_val = option->value});
  auto bytes = static_cast<socklen_t>(options.size() * sizeof(tcp_repair_opt));
  if (::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options.data(), bytes) != 0)
    throw_errno("set what the ends of a TCP connection agreed on");
  // The lowest bit says that the unit is a microsecond (Linux 6.7).
  std::int64_t ticks_per_ms = (kept.timestamp & 1) != 0 ? 1000 : 1;
  std::int64_t jump = std::clamp<std::int64_t>(since_checkpoint_ms, 0, kLongestJump_ms) * ticks_per_ms;
  std::uint32_t timestamp =
      ((kept.timestamp + static_cast<std::uint32_t>(jump)) & ~1U) | (kept.timestamp & 1);
  set_int_option(fd, IPPROTO_TCP, TCP_TIMESTAMP, static_cast<int>(timestamp));
}

void make_room(int fd, int option, std::size_t bytes) {
  int wanted = static_cast<int>(std::min<std::size_t>(bytes * 2 + (64 << 10), 1 << 30));
  if (int_option(fd, SOL_SOCKET, option == SO_SNDBUFFORCE ? SO_SNDBUF : SO_RCVBUF) < wanted)
    set_int_option(fd, SOL_SOCKET, option, wanted);
}

void fill_queue(int fd, int queue, const Bytes& content) {
  if (content.empty()) return;
  choose_queue(fd, queue);
  make_room(fd, queue == TCP_SEND_QUEUE ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, content.size());
  std::span<const std::uint8_t> left(content);
  std::size_t piece = kLargestPiece;
  while (!left.empty()) {
    ssize_t put = ::send(fd, left.data(), std::min(piece, left.size()), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) {
      left = left.subspan(static_cast<std::size_t>(put));
    } else if (piece > 1024) {
      piece /= 2;
    } else {
      throw_errno("put back what was under way in a TCP connection");
    }
  }
}

void write_window(int fd, const image::KeptConnectionT& kept) {
  if (::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, kept.window.data(),
                   static_cast<socklen_t>(kept.window.size())) != 0)
    throw_errno("set the window of a TCP connection");
}

}  // namespace

void require_tcp_repair() {
  UniqueFd trial = make_socket({.family = AF_INET, .type = SOCK_STREAM, .protocol = 0});
  int on = TCP_REPAIR_ON;
  if (::setsockopt(trial.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0) return;
  if (errno == EPERM)
    throw Error("--sockets keep needs CAP_NET_ADMIN; run ckptrun with it, or use --sockets reset", EPERM);
  throw_errno("--sockets keep needs a kernel that can repair TCP connections; use --sockets reset");
}

std::string unfit_for_repair(int fd) {
  socklen_t length = 0;
  if (::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &length) != 0 || length != 0)
    return "it has a filter";
  std::array<char, 16> upper{};
  socklen_t size = upper.size();
  if (::getsockopt(fd, IPPROTO_TCP, kUpperProtocol, upper.data(), &size) == 0 && size != 0 && upper[0] != 0)
    return fmt::format("the kernel does {} in it", upper.data());
  return {};
}

SilencedConnection::SilencedConnection(UniqueFd connection) : connection_(std::move(connection)) {
  stop_listening(connection_.get(), int_option(connection_.get(), SOL_SOCKET, SO_REUSEADDR) != 0);
  try {
    set_repair(connection_.get(), TCP_REPAIR_ON);
  } catch (const Error&) {
    listen_again(connection_.get());
    throw;
  }
}

SilencedConnection::~SilencedConnection() {
  if (!connection_) return;
  try {
    set_repair(connection_.get(), TCP_REPAIR_OFF_NO_WP);
    listen_again(connection_.get());
  } catch (const Error&) {
    return;  // it has been reset meanwhile
  }
}

bool SilencedConnection::is_established() const {
  return read_info(connection_.get()).tcpi_state == kEstablished;
}

void SilencedConnection::read(image::InetSocketDetailT& detail) const {
  int fd = connection_.get();
  auto kept = std::make_unique<image::KeptConnectionT>();
  std::uint32_t receive_end = 0;
  detail.received = read_received(fd, receive_end);
  kept->receive_sequence = receive_end - static_cast<std::uint32_t>(detail.received.size());
  choose_queue(fd, TCP_SEND_QUEUE);
  std::uint32_t send_end = sequence(fd);
  kept->unsent = peek_to_send(fd, count_bytes(fd, SIOCOUTQ));
  kept->send_sequence = send_end - static_cast<std::uint32_t>(kept->unsent.size());
  choose_queue(fd, TCP_NO_QUEUE);
  read_options(fd, *kept);
  std::size_t room = read_window(fd, *kept);
  std::size_t unsent = std::min(count_bytes(fd, SIOCOUTQNSD), kept->unsent.size());
  // As a probe of the window the kernel may still send what the peer has room for (RFC 9293, 3.8.6.1). What
  // counts as sent is sent again, and the peer may have it already.
  std::size_t sent = std::max(kept->unsent.size() - unsent, std::min(room, kept->unsent.size()));
  auto boundary = kept->unsent.begin() + static_cast<std::ptrdiff_t>(sent);
  kept->sent.assign(kept->unsent.begin(), boundary);
  kept->unsent.erase(kept->unsent.begin(), boundary);
  detail.kept = std::move(kept);
}

RevivedConnection::RevivedConnection(const image::InetSocketDetailT& detail, std::int64_t since_checkpoint_ms)
    : socket_(make_socket({.family = detail.family, .type = SOCK_STREAM, .protocol = detail.protocol})),
      unsent_(detail.kept->unsent),
      reuse_address_(saved_option(detail.options, SOL_SOCKET, SO_REUSEADDR, 0)) {
  const image::KeptConnectionT& kept = *detail.kept;
  int fd = socket_.get();
  set_options(fd, detail.options);
  set_repair(fd, TCP_REPAIR_ON);
  stop_listening(fd, reuse_address_ != 0);
  set_sequence(fd, TCP_SEND_QUEUE, kept.send_sequence);
  set_sequence(fd, TCP_RECV_QUEUE, kept.receive_sequence);
  connect_in_repair(fd, detail);
  write_options(fd, kept, since_checkpoint_ms);
  fill_queue(fd, TCP_RECV_QUEUE, detail.received);
  fill_queue(fd, TCP_SEND_QUEUE, kept.sent);
  choose_queue(fd, TCP_NO_QUEUE);
  write_window(fd, kept);
  set_int_option(fd, SOL_SOCKET, kBufferLocks, 0);  // set_options() knows better, and comes again
}

void RevivedConnection::go_on() {
  listen_again(fd());
  set_repair(fd(), TCP_REPAIR_OFF);
  set_int_option(fd(), SOL_SOCKET, SO_REUSEADDR, reuse_address_);
  if (put_stream(fd(), unsent_)) return;
  throw Error(
      fmt::format("the {} bytes that a TCP connection was to send do not fit into its buffer; raise "
                  "/proc/sys/net/core/wmem_max",
                  unsent_.size()));
}

}  // namespace ckpt::engine::resource
