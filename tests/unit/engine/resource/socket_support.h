// Sockets in the states that tests of them need. Everything throws where it fails.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "engine/resource/socket/address.h"
#include "resource/program_support.h"
#include "support/child_with_parent.h"

namespace ckpt::engine {

using resource::SocketAddress;

// Of ports that the system gives to nobody (ip_local_port_range begins at 32768), those of this process:
// whoever connects meanwhile, in whichever test, must not get the port of a program that is going to be
// restored.
inline std::uint16_t port_of_this_process() {
  constexpr int kFirst = 10'000;
  constexpr int kCount = 22'000;
  constexpr int kEach = 16;
  static int used = 0;
  return static_cast<std::uint16_t>(kFirst + (::getpid() * kEach + used++) % kCount);
}

// At a free port if none is given.
inline int bound_socket(int family, int type, std::uint16_t port = 0) {
  int fd = require_fd(::socket(family, type, 0), "socket");
  bool any = port == 0;
  for (int tries = 0;; ++tries) {
    SocketAddress address = SocketAddress::loopback(family, any ? port_of_this_process() : port);
    if (::bind(fd, address.get(), address.size()) == 0) return fd;
    require(any && errno == EADDRINUSE && tries < 100, "bind");
  }
}

inline int listening_socket(int family, int backlog = 8) {
  int fd = bound_socket(family, SOCK_STREAM);
  require(::listen(fd, backlog) == 0, "listen");
  return fd;
}

inline void connect_to(int fd, const SocketAddress& address) {
  require(::connect(fd, address.get(), address.size()) == 0, "connect to " + address.text());
}

inline int connected_socket(const SocketAddress& address, int type = SOCK_STREAM) {
  int fd = require_fd(::socket(address.family(), type, 0), "socket");
  connect_to(fd, address);
  return fd;
}

inline int accepted_socket(int listener) {
  return require_fd(::accept(listener, nullptr, nullptr), "accept");
}

inline void send_all(int fd, const std::string& text) {
  require_equal(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<long long>(text.size()),
                "send");
}

// What recv(2) of up to 64 KiB says, without waiting: the bytes, or the name of the error in <>.
inline std::string received(int fd) {
  std::string text(1 << 16, '\0');
  ssize_t got = ::recv(fd, text.data(), text.size(), MSG_DONTWAIT);
  if (got < 0) return "<" + std::string(::strerrorname_np(errno)) + ">";
  text.resize(static_cast<std::size_t>(got));
  return text;
}

inline void require_text(const std::string& found, const std::string& expected, const std::string& what) {
  require(found == expected, what + ": '" + found + "' instead of '" + expected + "'");
}

inline int errno_of_send(int fd) { return ::send(fd, "x", 1, MSG_NOSIGNAL) < 0 ? errno : 0; }

inline short events_of(int fd) {
  pollfd one{fd, POLLIN | POLLOUT | POLLRDHUP, 0};
  ::poll(&one, 1, 0);
  return one.revents;
}

// A process outside the program, for as long as the program lives: `act` opens things and returns the only
// descriptor that stays open there.
inline void outside(const std::function<int()>& act) {
  pid_t pid = tests::fork_child_that_ends_with_parent();
  require(pid >= 0, "fork");
  if (pid > 0) return;
  try {
    put_at(act(), 900);
    ::close_range(3, 899, 0);
    for (;;) ::pause();
  } catch (const std::exception&) {
    ::_exit(1);
  }
}

inline void wait_for_bytes(int fd) {
  pollfd one{fd, POLLIN, 0};
  require(::poll(&one, 1, 10000) == 1, "bytes from the outside");
}

// A connection that was accepted from the outside, where `sent` was sent.
inline int accepted_from_outside(int listener, const std::string& sent = {}) {
  SocketAddress address = SocketAddress::local_of(listener);
  outside([&] {
    int fd = connected_socket(address);
    if (!sent.empty()) send_all(fd, sent);
    return fd;
  });
  int fd = accepted_socket(listener);
  if (!sent.empty()) wait_for_bytes(fd);
  return fd;
}

// A connection that was made to the outside, where `sent` was sent.
inline int connected_with_outside(int family, const std::string& sent = {}) {
  int listener = listening_socket(family);
  outside([&] {
    int fd = accepted_socket(listener);
    if (!sent.empty()) send_all(fd, sent);
    return fd;
  });
  int fd = connected_socket(SocketAddress::local_of(listener));
  ::close(listener);
  if (!sent.empty()) wait_for_bytes(fd);
  return fd;
}

inline int option_of(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  require(::getsockopt(fd, level, name, &value, &length) == 0, "getsockopt");
  return value;
}

inline void set_option(int fd, int level, int name, int value) {
  require(::setsockopt(fd, level, name, &value, sizeof value) == 0, "setsockopt");
}

}  // namespace ckpt::engine
