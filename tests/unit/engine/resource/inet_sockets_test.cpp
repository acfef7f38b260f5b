// IPv4 and IPv6 sockets, with their other ends outside the program or in the program itself.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <array>

#include "base/error.h"
#include "engine/resource/open_description.h"
#include "resource/socket_support.h"

namespace ckpt::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const SocketPolicy kEof{.connections = LostConnections::kEof, .lost_addresses = {}};

class InetSockets : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Families, InetSockets, testing::Values(AF_INET, AF_INET6),
                         [](const auto& parameter) { return parameter.param == AF_INET ? "IPv4" : "IPv6"; });

tcp_info info_of(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  require(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0, "TCP_INFO");
  return info;
}

SocketAddress saved_address(const SavedProgram& program, int number) {
  return SocketAddress(program.description(number).detail.AsInetSocketDetail()->local);
}

TEST_P(InetSockets, ListenerIsBoundAgainWithItsOptionsAndAccepts) {
  auto saved = save_program([&] {
    put_at(listening_socket(GetParam(), 37), 5);
    set_option(5, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(5, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(5, SOL_SOCKET, SO_RCVBUF, 50000);
  });
  SocketAddress address = saved_address(*saved, 5);
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_text(SocketAddress::local_of(5).text(), address.text(), "address");
              require_equal(option_of(5, SOL_SOCKET, SO_ACCEPTCONN), 1, "SO_ACCEPTCONN");
              require_equal(option_of(5, SOL_SOCKET, SO_REUSEADDR), 0, "SO_REUSEADDR");
              require_equal(option_of(5, SOL_SOCKET, SO_KEEPALIVE), 1, "SO_KEEPALIVE");
              require_equal(option_of(5, IPPROTO_TCP, TCP_NODELAY), 1, "TCP_NODELAY");
              require_equal(option_of(5, SOL_SOCKET, SO_RCVBUF), 100000, "SO_RCVBUF");
              require_equal(info_of(5).tcpi_sacked, 37, "backlog");
              int client = connected_socket(address);
              send_all(client, "hello");
              require_text(received(accepted_socket(5)), "hello", "bytes");
            }));
}

TEST_P(InetSockets, ConnectionToTheOutsideComesBackReset) {
  auto saved = save_program([&] {
    put_at(connected_with_outside(GetParam(), "waiting"), 5);
    set_option(5, SOL_SOCKET, SO_KEEPALIVE, 1);
  });
  SocketAddress address = saved_address(*saved, 5);
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_equal(events_of(5), POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP, "poll");
              require_equal(option_of(5, SOL_SOCKET, SO_KEEPALIVE), 1, "SO_KEEPALIVE");
              require_equal(option_of(5, SOL_SOCKET, SO_DOMAIN), GetParam(), "family");
              require_text(SocketAddress::local_of(5).text(), address.text(), "address");
              require(!SocketAddress::peer_of(5), "no peer");
              require_text(received(5), "waiting", "first");
              require_text(received(5), "<ECONNRESET>", "second");
              require_text(received(5), "", "third");
              require_equal(errno_of_send(5), EPIPE, "send");
              require(::shutdown(5, SHUT_RDWR) != 0 && errno == ENOTCONN, "shutdown");
            }));
}

TEST_P(InetSockets, ConnectionToTheOutsideComesBackClosedOnRequest) {
  auto saved = save_program([&] { put_at(connected_with_outside(GetParam(), "waiting"), 5); });
  std::string result = look_inside(
      *saved,
      [] {
        require_equal(events_of(5), POLLIN | POLLOUT | POLLRDHUP, "poll");
        require_text(received(5), "waiting", "bytes");
        require_text(received(5), "", "end of file");
        require_equal(errno_of_send(5), 0, "first send");
        require_equal(errno_of_send(5), EPIPE, "second send");
      },
      {}, kEof);
  EXPECT_EQ("", result);
}

// Whose address is that of the listener; both orders of descriptors.
TEST_P(InetSockets, AcceptedConnectionsDoNotKeepTheListenerFromItsPort) {
  auto saved = save_program([&] {
    int listener = listening_socket(GetParam());
    set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    put_at(listener, 50);
    put_at(accepted_from_outside(50, "one"), 5);
    put_at(accepted_from_outside(50), 60);
  });
  for (const SocketPolicy& policy : {SocketPolicy{}, kEof}) {
    std::string result = look_inside(
        *saved,
        [] {
          require_equal(option_of(50, SOL_SOCKET, SO_ACCEPTCONN), 1, "listens");
          for (int number : {5, 60}) {
            require_text(SocketAddress::local_of(number).text(), SocketAddress::local_of(50).text(),
                         "address");
          }
          require_text(received(5), "one", "bytes");
        },
        {}, policy);
    EXPECT_EQ("", result);
  }
}

TEST_P(InetSockets, ConnectUnderWayIsRefused) {
  auto saved = save_program([&] {
    // A full queue of connections: the next one is neither accepted nor refused.
    int listener = listening_socket(GetParam(), 0);
    SocketAddress address = SocketAddress::local_of(listener);
    put_at(listener, 40);
    put_at(connected_socket(address), 41);
    int fd = require_fd(::socket(GetParam(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    require(::connect(fd, address.get(), address.size()) != 0 && errno == EINPROGRESS, "connect");
    put_at(fd, 5);
    ::close(40);
    ::close(41);
  });
  ASSERT_EQ(image::InetState::Connecting, saved->description(5).detail.AsInetSocketDetail()->state);
  EXPECT_EQ("", look_inside(*saved, [] {
              require((events_of(5) & (POLLOUT | POLLERR)) == (POLLOUT | POLLERR), "poll");
              require_equal(option_of(5, SOL_SOCKET, SO_ERROR), ECONNREFUSED, "SO_ERROR");
            }));
}

TEST_P(InetSockets, NewAndBoundOnesStayWhatTheyAre) {
  auto saved = save_program([&] {
    put_at(require_fd(::socket(GetParam(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket"), 5);
    put_at(bound_socket(GetParam(), SOCK_STREAM), 6);
  });
  SocketAddress address = saved_address(*saved, 6);
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_equal(SocketAddress::local_of(5).port(), 0, "port of a new socket");
              require_text(SocketAddress::local_of(6).text(), address.text(), "address");
              require_equal(::listen(6, 1), 0, "listen");
              require_equal(::fcntl(5, F_GETFL) & O_NONBLOCK, O_NONBLOCK, "O_NONBLOCK");
              ::close(connected_socket(address));
            }));
}

TEST_P(InetSockets, EndedConnectionsStayEnded) {
  auto saved = save_program([&] {
    put_at(listening_socket(GetParam()), 40);
    SocketAddress address = SocketAddress::local_of(40);
    // 5: closed by the peer. 6: reset, and the program knows. 7: reset, and it does not know.
    for (int number : {5, 6, 7}) {
      put_at(connected_socket(address), number);
      int other = accepted_socket(40);
      if (number == 5) send_all(other, "last words");
      linger at_once{number == 5 ? 0 : 1, 0};
      ::setsockopt(other, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      ::close(other);
    }
    require_text(received(6), "<ECONNRESET>", "reset");
    ::close(40);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require_text(received(5), "last words", "bytes of a closed connection");
              require_text(received(5), "", "its end");
              require_text(received(6), "", "end of a reset connection");
              require_equal(errno_of_send(6), EPIPE, "send");
              require_text(received(7), "<ECONNRESET>", "a reset that is still to be told");
            }));
}

TEST_P(InetSockets, DatagramSocketsAreBoundAndConnectedAgain) {
  auto saved = save_program([&] {
    put_at(bound_socket(GetParam(), SOCK_DGRAM), 5);
    put_at(connected_socket(SocketAddress::local_of(5), SOCK_DGRAM), 6);
    set_option(6, SOL_SOCKET, SO_BROADCAST, 1);
    send_all(6, "first");
    send_all(6, "");
    send_all(6, "third");
    put_at(require_fd(::socket(GetParam(), SOCK_DGRAM, 0), "socket"), 7);
  });
  SocketAddress address = saved_address(*saved, 5);
  SocketAddress client = saved_address(*saved, 6);
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_text(SocketAddress::local_of(5).text(), address.text(), "address");
              require_text(SocketAddress::local_of(6).text(), client.text(), "address of the client");
              require_text(SocketAddress::peer_of(6).value().text(), address.text(), "its peer");
              require_equal(option_of(6, SOL_SOCKET, SO_BROADCAST), 1, "SO_BROADCAST");
              for (const char* text : {"first", "", "third"}) require_text(received(5), text, "datagram");
              require_text(received(5), "<EAGAIN>", "end");
              send_all(6, "more");
              require_text(received(5), "more", "datagram");
              require_equal(SocketAddress::local_of(7).port(), 0, "unbound");
            }));
}

TEST_P(InetSockets, ConnectionWithinTheProgramIsKeptWithItsBytes) {
  std::string text(300'000, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 / 5);
  auto saved = save_program([&] {
    put_at(listening_socket(GetParam()), 5);
    set_option(5, SOL_SOCKET, SO_REUSEADDR, 1);
    put_at(connected_socket(SocketAddress::local_of(5)), 6);
    put_at(accepted_socket(5), 7);
    put_at(connected_socket(SocketAddress::local_of(5)), 8);
    put_at(accepted_socket(5), 9);
    send_all(6, text.substr(0, 50'000));
    send_all(7, "answer");
    send_all(8, "the end");
    require(::shutdown(8, SHUT_WR) == 0, "shutdown");
    put_at(connected_socket(SocketAddress::local_of(5)), 10);  // not accepted yet
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_text(SocketAddress::local_of(7).text(), SocketAddress::local_of(5).text(), "address");
              require_text(SocketAddress::peer_of(7).value().text(), SocketAddress::local_of(6).text(),
                           "peer");
              std::string got;
              while (got.size() < 50'000) got += received(7);
              require(got == text.substr(0, 50'000), "bytes");
              require_text(received(7), "<EAGAIN>", "no more bytes");
              require_text(received(6), "answer", "other direction");
              require_text(received(9), "the end", "half closed");
              require_text(received(9), "", "its end");
              require_equal(errno_of_send(8), EPIPE, "send after shutdown");
              send_all(9, "still open");
              require_text(received(8), "still open", "other direction");
              int late = accepted_socket(5);
              send_all(10, "accepted");
              require_text(received(late), "accepted", "late");
            }));
}

// More than the receiver has room for: the rest is in the sender's buffer.
TEST_P(InetSockets, BytesOfASenderThatIsHeldUpArriveToo) {
  std::size_t sent = 0;
  const std::string text(1000, 'y');
  auto saved = save_program(
      [&] {
        put_at(listening_socket(GetParam()), 5);
        set_option(5, SOL_SOCKET, SO_RCVBUF, 20'000);
        put_at(connected_socket(SocketAddress::local_of(5)), 6);
        put_at(accepted_socket(5), 7);
        ::close(5);
        set_option(6, SOL_SOCKET, SO_SNDBUF, 50'000);
        while (::send(6, text.data(), text.size(), MSG_DONTWAIT) > 0) continue;
      },
      [&](pid_t pid) {
        // The program is as it was: what has been saved is what it now has received.
        UniqueFd receiver = resource::copy_descriptor(resource::inspect_descriptor(pid, 7));
        EXPECT_EQ(40'000, option_of(receiver.get(), SOL_SOCKET, SO_RCVBUF));
        int waiting = 0;
        ::ioctl(receiver.get(), FIONREAD, &waiting);
        sent = static_cast<std::size_t>(waiting);
      });
  EXPECT_LT(50'000U, sent);
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_equal(option_of(6, SOL_SOCKET, SO_SNDBUF), 100'000, "SO_SNDBUF");
              require_equal(option_of(7, SOL_SOCKET, SO_RCVBUF), 40'000, "SO_RCVBUF");
              std::size_t got = 0;
              while (got < sent) {
                wait_for_bytes(7);
                got += received(7).size();
              }
              require_equal(static_cast<long long>(got), static_cast<long long>(sent), "bytes");
              require_text(received(7), "<EAGAIN>", "no more bytes");
            }));
}

TEST_P(InetSockets, EpollWatchesThemAgain) {
  auto saved = save_program([&] {
    put_at(listening_socket(GetParam()), 5);
    put_at(connected_with_outside(GetParam()), 6);
    put_at(::epoll_create1(0), 7);
    for (int number : {5, 6}) {
      epoll_event event{};
      event.events = EPOLLIN;
      if (number == 6) event.events |= EPOLLET;
      event.data.fd = number;
      require(::epoll_ctl(7, EPOLL_CTL_ADD, number, &event) == 0, "EPOLL_CTL_ADD");
    }
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              std::array<epoll_event, 4> events{};
              require_equal(::epoll_wait(7, events.data(), 4, 0), 1, "the lost connection");
              require_equal(events[0].data.fd, 6, "which");
              int client = connected_socket(SocketAddress::local_of(5));
              require_equal(::epoll_wait(7, events.data(), 4, 1000), 1, "the listener");
              require_equal(events[0].data.fd, 5, "which");
              ::close(client);
            }));
}

TEST(InetSocketsOfBothFamilies, TalkToEachOther) {
  auto saved = save_program([] {
    int listener = require_fd(::socket(AF_INET6, SOCK_STREAM, 0), "socket");
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    require(::bind(listener, reinterpret_cast<sockaddr*>(&any), sizeof any) == 0, "bind");
    require(::listen(listener, 5) == 0, "listen");
    put_at(listener, 5);
    put_at(connected_socket(SocketAddress::loopback(AF_INET, SocketAddress::local_of(5).port())), 6);
    put_at(accepted_socket(5), 7);
    send_all(6, "mapped");
    // And one whose other end is outside.
    SocketAddress there = SocketAddress::loopback(AF_INET, SocketAddress::local_of(5).port());
    outside([&] { return connected_socket(there); });
    put_at(accepted_socket(5), 8);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require(SocketAddress::local_of(7).is_mapped(), "address");
              require_text(received(7), "mapped", "bytes");
              send_all(7, "back");
              require_text(received(6), "back", "other direction");
              require_text(received(8), "<ECONNRESET>", "outside");
            }));
}

TEST(InetSocketOptions, FilterIsAttachedAgain) {
  auto saved = save_program([] {
    put_at(bound_socket(AF_INET, SOCK_DGRAM), 5);
    sock_filter nothing{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
    sock_fprog program{.len = 1, .filter = &nothing};
    require(::setsockopt(5, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0, "filter");
    timeval timeout{.tv_sec = 3, .tv_usec = 500000};
    require(::setsockopt(5, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0, "timeout");
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              send_all(connected_socket(SocketAddress::local_of(5), SOCK_DGRAM), "dropped");
              require_text(received(5), "<EAGAIN>", "datagram");
              timeval timeout{};
              socklen_t length = sizeof timeout;
              ::getsockopt(5, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length);
              require_equal(timeout.tv_usec, 500000, "timeout");
            }));
}

TEST(InetSocketAddresses, TakenOneIsAProblemOrALoss) {
  auto saved = save_program([] { put_at(listening_socket(AF_INET), 5); });
  SocketAddress address = saved_address(*saved, 5);
  UniqueFd other(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(0, ::bind(other.get(), address.get(), address.size()));
  ASSERT_EQ(0, ::listen(other.get(), 1));
  try {
    check_descriptors(saved->checkpoint);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("descriptor 5: "), HasSubstr(address.text()), HasSubstr("EADDRINUSE")));
  }
  EXPECT_THAT(look_inside(*saved, [] {}), AllOf(HasSubstr(address.text()), HasSubstr("EADDRINUSE")));
  std::vector<LostAddress> lost;
  check_descriptors(saved->checkpoint, nullptr, &lost);
  ASSERT_EQ(1U, lost.size());
  EXPECT_EQ(address.text(), lost[0].address);
  EXPECT_EQ(EADDRINUSE, lost[0].error);
  EXPECT_EQ(5, lost[0].descriptor);
  std::string result =
      look_inside(*saved,
                  [] {
                    require(::accept(5, nullptr, nullptr) < 0 && errno == EINVAL, "accept");
                    require_equal(events_of(5), POLLOUT | POLLHUP, "poll");
                  },
                  {}, {.connections = LostConnections::kReset, .lost_addresses = {lost[0].inode}});
  EXPECT_EQ("", result);
}

TEST(InetSocketAddresses, ConnectionsToTheOutsideAreNoted) {
  auto saved = save_program([] { put_at(connected_with_outside(AF_INET), 5); });
  check_descriptors(saved->checkpoint);
  EXPECT_THAT(connection_notes(saved->checkpoint, {}),
              testing::ElementsAre(HasSubstr("reset by their peers: 1")));
  SocketNeeds needs = socket_needs(saved->checkpoint);
  ASSERT_EQ(needs.connections.size(), 1U);
  EXPECT_TRUE(needs.connections[0].open_both_ways);
  SocketPolicy policy{.reconnected = {{needs.connections[0].inode, 0}}};
  EXPECT_THAT(connection_notes(saved->checkpoint, policy), testing::IsEmpty());
}

}  // namespace
}  // namespace ckpt::engine
