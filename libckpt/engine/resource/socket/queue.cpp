// Peeking several messages needs SO_PEEK_OFF, a property of the program's own socket: it is put back to what
// it was before the program runs on. (A ckptrun that is killed in between leaves it behind; only a program
// that peeks itself would notice.)
#include "engine/resource/socket/queue.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/socket/options.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::size_t kFirstBuffer = 1 << 17;
constexpr std::size_t kControlBytes = 4096;  // 253 descriptors, and what options may add

class PeekOffset {
 public:
  explicit PeekOffset(int fd) : fd_(fd), before_(int_option(fd, SOL_SOCKET, SO_PEEK_OFF)) { set(0); }
  ~PeekOffset() { ::setsockopt(fd_, SOL_SOCKET, SO_PEEK_OFF, &before_, sizeof before_); }
  PeekOffset(const PeekOffset&) = delete;
  PeekOffset& operator=(const PeekOffset&) = delete;

  void set(int offset) { set_int_option(fd_, SOL_SOCKET, SO_PEEK_OFF, offset); }
  int get() const { return int_option(fd_, SOL_SOCKET, SO_PEEK_OFF); }

 private:
  int fd_;
  int before_;
};

std::size_t waiting_bytes(int fd) {
  int count = 0;
  if (::ioctl(fd, FIONREAD, &count) != 0) throw_errno("count the bytes waiting in a socket");
  return static_cast<std::size_t>(std::max(count, 0));
}

// TCP has it since Linux 6.9, and only a program that asked for it needs care.
bool has_peek_offset(int fd) {
  int offset = -1;
  socklen_t length = sizeof offset;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &length) == 0 && offset >= 0;
}

bool is_stream(int fd) { return int_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM; }
bool is_datagram(int fd) { return int_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM; }

template <typename Function>
void for_each_control(msghdr& header, Function function) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(&header, control)) {
    function(*control);
  }
}

constexpr int kSenderPidfd = 4;  // SCM_PIDFD, Linux 6.5

void take_descriptors(msghdr& header, std::vector<UniqueFd>& descriptors) {
  for_each_control(header, [&](cmsghdr& control) {
    bool sent = control.cmsg_level == SOL_SOCKET && control.cmsg_type == SCM_RIGHTS;
    bool pidfd = control.cmsg_level == SOL_SOCKET && control.cmsg_type == kSenderPidfd;
    if (!sent && !pidfd) return;
    std::size_t count = (control.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(&control) + i * sizeof number, sizeof number);
      UniqueFd received(number);
      if (sent) descriptors.push_back(std::move(received));
    }
  });
}

// None: nothing (more) is there.
std::optional<WaitingMessage> peek_once(int fd, std::vector<std::uint8_t>& buffer, bool& truncated) {
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  sockaddr_storage source{};
  iovec piece{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr header{};
  header.msg_name = &source;
  header.msg_namelen = sizeof source;
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t got = ::recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
  if (got < 0) throw_errno("look at the messages waiting in a socket");
  WaitingMessage message;
  take_descriptors(header, message.descriptors);
  if ((header.msg_flags & MSG_CTRUNC) != 0)
    throw Error("a message waiting in a socket has more descriptors than this user may have open");
  truncated = (header.msg_flags & MSG_TRUNC) != 0;
  message.bytes.assign(buffer.begin(), buffer.begin() + got);
  message.source = SocketAddress::from(source, header.msg_namelen);
  return message;
}

// A stream, or a socket of packets with a connection: asking beyond the end would take a pending error away.
std::vector<WaitingMessage> peek_connected(int fd) {
  std::vector<WaitingMessage> messages;
  std::size_t left = waiting_bytes(fd);
  if (left == 0) return messages;
  bool stream = is_stream(fd);
  PeekOffset offset(fd);
  std::vector<std::uint8_t> buffer(std::max(left, std::size_t{1}));
  while (left > 0) {
    bool truncated = false;
    std::optional<WaitingMessage> message = peek_once(fd, buffer, truncated);
    if (!message) break;
    left -= std::min(left, message->bytes.size());
    bool glue =
        stream && !messages.empty() && messages.back().descriptors.empty() && message->descriptors.empty();
    if (glue) {
      auto& before = messages.back().bytes;
      before.insert(before.end(), message->bytes.begin(), message->bytes.end());
    } else {
      messages.push_back(std::move(*message));
    }
  }
  return messages;
}

std::vector<WaitingMessage> peek_datagrams(int fd) {
  std::vector<WaitingMessage> messages;
  if ((poll_now(fd, POLLIN) & POLLIN) == 0) return messages;
  PeekOffset offset(fd);
  std::vector<std::uint8_t> buffer(kFirstBuffer);
  for (;;) {
    bool truncated = false;
    int begin = offset.get();
    std::optional<WaitingMessage> message = peek_once(fd, buffer, truncated);
    if (!message) return messages;
    if (truncated) {
      buffer.resize(buffer.size() * 2);
      offset.set(begin);
    } else {
      messages.push_back(std::move(*message));
    }
  }
}

// The descriptors of a stream's message belong to its first byte; one of them does not go without any byte.
msghdr header_of(iovec& piece, std::span<char> control, std::span<const int> descriptors) {
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (descriptors.empty()) return header;
  header.msg_control = control.data();
  header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* first = CMSG_FIRSTHDR(&header);
  first->cmsg_level = SOL_SOCKET;
  first->cmsg_type = SCM_RIGHTS;
  first->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(first), descriptors.data(), descriptors.size_bytes());
  return header;
}

// The size of a buffer, as large as needed for a moment, then as before; whether the kernel may change it by
// itself too.
class BufferSize {
 public:
  BufferSize(int fd, int option)
      : fd_(fd),
        option_(option),
        before_(int_option(fd, SOL_SOCKET, option)),
        locks_(int_option(fd, SOL_SOCKET, kBufferLocks)) {}
  ~BufferSize() {
    if (!changed_) return;
    int half = before_ / 2;  // the kernel doubles it
    ::setsockopt(fd_, SOL_SOCKET, option_, &half, sizeof half);
    ::setsockopt(fd_, SOL_SOCKET, kBufferLocks, &locks_, sizeof locks_);
  }
  BufferSize(const BufferSize&) = delete;
  BufferSize& operator=(const BufferSize&) = delete;

  // False if it cannot become larger.
  bool enlarge(std::size_t by) {
    int now = int_option(fd_, SOL_SOCKET, option_);
    int wanted = static_cast<int>(std::min(static_cast<std::size_t>(now) + by, kMostBytes));
    int force = option_ == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
    changed_ = true;
    if (::setsockopt(fd_, SOL_SOCKET, force, &wanted, sizeof wanted) != 0)
      ::setsockopt(fd_, SOL_SOCKET, option_, &wanted, sizeof wanted);
    return int_option(fd_, SOL_SOCKET, option_) > now;
  }

 private:
  static constexpr std::size_t kMostBytes = 1 << 30;

  int fd_;
  int option_;
  int before_;
  int locks_;
  bool changed_ = false;
};

}  // namespace

void refuse_urgent_data(int fd, const std::string& what) {
  if ((poll_now(fd, POLLPRI) & POLLPRI) == 0) return;
  throw Error(
      what +
      " has received urgent data (MSG_OOB), which cannot be saved; try again when the program has read it");
}

std::vector<std::uint8_t> peek_stream(int fd) {
  std::vector<std::uint8_t> bytes(waiting_bytes(fd));
  if (bytes.empty()) return bytes;
  std::optional<PeekOffset> offset;
  if (has_peek_offset(fd)) offset.emplace(fd);
  ssize_t got = ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno != EAGAIN) throw_errno("look at the bytes waiting in a socket");
  bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return bytes;
}

std::vector<WaitingMessage> peek_messages(int fd, bool& error_pending) {
  error_pending = (poll_now(fd, 0) & POLLERR) != 0;
  if (!is_datagram(fd)) return peek_connected(fd);
  return error_pending ? std::vector<WaitingMessage>() : peek_datagrams(fd);
}

// A receiver tells its peer of new room when it reads, were it only to look.
std::vector<std::uint8_t> draw_in_stream(int fd, std::size_t under_way) {
  constexpr int kAttempts = 500;  // of a millisecond or more, however busy the machine is
  std::size_t expected = waiting_bytes(fd) + under_way;
  BufferSize buffer(fd, SO_RCVBUF);
  buffer.enlarge(2 * expected);
  char byte = 0;
  for (int attempt = 0; attempt < kAttempts && waiting_bytes(fd) < expected; ++attempt) {
    if (::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return peek_stream(fd);
}

bool put_stream(int fd, std::span<const std::uint8_t> bytes) {
  BufferSize buffer(fd, SO_SNDBUF);
  while (!bytes.empty()) {
    ssize_t put = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    } else if (errno != EAGAIN || !buffer.enlarge(bytes.size())) {
      return false;
    }
  }
  return true;
}

void put_message(int fd, std::span<const std::uint8_t> bytes, std::span<const int> descriptors,
                 const SocketAddress& destination, const std::string& what) {
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  iovec piece{.iov_base = const_cast<std::uint8_t*>(bytes.data()), .iov_len = bytes.size()};
  msghdr header = header_of(piece, control, descriptors);
  if (!destination.empty()) {
    header.msg_name = const_cast<sockaddr*>(destination.get());
    header.msg_namelen = destination.size();
  }
  BufferSize buffer(fd, SO_SNDBUF);
  while (::sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    int cause = errno;
    if ((cause == EAGAIN || cause == EMSGSIZE || cause == ENOBUFS) && buffer.enlarge(bytes.size())) continue;
    throw_errno("put back a message that waited in " + what, cause);
  }
}

}  // namespace ckpt::engine::resource
