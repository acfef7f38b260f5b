// Unix sockets: pairs, names, listeners, what waits in them, and descriptors under way.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <filesystem>

#include "base/error.h"
#include "engine/resource/socket/queue.h"
#include "resource/socket_support.h"

namespace ckpt::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

void make_pair_at(int left, int right, int type) {
  std::array<int, 2> ends{};
  require_equal(::socketpair(AF_UNIX, type, 0, ends.data()), 0, "socketpair");
  put_at(::fcntl(ends[0], F_DUPFD, 100), left);
  put_at(::fcntl(ends[1], F_DUPFD, 100), right);
  ::close_range(100, 200, 0);
  for (int end : ends) {
    if (end != left && end != right) ::close(end);
  }
}

int named_socket(int type, const std::string& name) {
  int fd = require_fd(::socket(AF_UNIX, type, 0), "socket");
  SocketAddress address = SocketAddress::of_unix(name);
  require(::bind(fd, address.get(), address.size()) == 0, "bind");
  return fd;
}

std::string abstract_name(const char* what) {
  return std::string(1, '\0') + "ckpt-test-" + what + "-" + std::to_string(::getpid());
}

void send_descriptor(int fd, const std::string& text, int sent) {
  std::vector<std::uint8_t> bytes(text.begin(), text.end());
  resource::put_message(fd, bytes, std::array<int, 1>{sent}, {}, "a test");
}

// The text of the next message, and a descriptor that came with it in `number`.
std::string receive_descriptor(int fd, int number) {
  alignas(cmsghdr) std::array<char, 256> control{};
  std::array<char, 4096> text{};
  iovec piece{.iov_base = text.data(), .iov_len = text.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t got = ::recvmsg(fd, &header, MSG_DONTWAIT);
  require(got >= 0, "recvmsg");
  if (cmsghdr* first = CMSG_FIRSTHDR(&header); first != nullptr) {
    int received = -1;
    std::memcpy(&received, CMSG_DATA(first), sizeof received);
    put_at(received, number);
  }
  return {text.data(), static_cast<std::size_t>(got)};
}

class UnixPairs : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Types, UnixPairs, testing::Values(SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET),
                         [](const auto& parameter) {
                           if (parameter.param == SOCK_STREAM) return "Stream";
                           return parameter.param == SOCK_DGRAM ? "Datagram" : "Packet";
                         });

TEST_P(UnixPairs, KeepBytesInBothDirectionsAndStayConnected) {
  bool stream = GetParam() == SOCK_STREAM;
  auto saved = save_program([] {
    make_pair_at(5, 6, GetParam());
    send_all(5, "one");
    send_all(5, "two");
    send_all(6, "back");
    set_option(6, SOL_SOCKET, SO_PASSCRED, 1);
    set_option(5, SOL_SOCKET, SO_SNDBUF, 30000);
    // Looking does not change anything.
    require_equal(option_of(6, SOL_SOCKET, SO_PEEK_OFF), -1, "SO_PEEK_OFF");
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_equal(option_of(5, SOL_SOCKET, SO_TYPE), GetParam(), "type");
              require_equal(option_of(6, SOL_SOCKET, SO_PASSCRED), 1, "SO_PASSCRED");
              require_equal(option_of(5, SOL_SOCKET, SO_SNDBUF), 60000, "SO_SNDBUF");
              require_text(received(6), stream ? "onetwo" : "one", "first");
              if (!stream) require_text(received(6), "two", "second");
              require_text(received(6), "<EAGAIN>", "end");
              require_text(received(5), "back", "other direction");
              send_all(6, "more");
              require_text(received(5), "more", "more");
              ucred peer{};
              socklen_t length = sizeof peer;
              ::getsockopt(5, SOL_SOCKET, SO_PEERCRED, &peer, &length);
              require_equal(peer.pid, ::getpid(), "SO_PEERCRED");
            }));
}

TEST(UnixPairsKept, TwiceInARow) {
  auto first = save_program([] {
    make_pair_at(5, 6, SOCK_STREAM);
    send_all(5, std::string(100'000, 'x'));
  });
  std::string message = look_inside(*first, [] {
    for (std::size_t left = 100'000; left > 0;) left -= received(6).size();
    require_text(received(6), "<EAGAIN>", "end");
  });
  EXPECT_EQ("", message);
}

TEST(UnixPairsKept, EndedOnes) {
  auto saved = save_program([] {
    make_pair_at(5, 6, SOCK_STREAM);  // closed by the other end
    send_all(6, "last");
    ::close(6);
    make_pair_at(7, 8, SOCK_STREAM);  // half closed
    send_all(8, "half");
    require_equal(::shutdown(8, SHUT_WR), 0, "shutdown");
    make_pair_at(9, 10, SOCK_STREAM);  // closed by the other end, which had not read all
    send_all(9, "unread");
    ::close(10);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require_text(received(5), "last", "bytes");
              require_text(received(5), "", "end of file");
              require_equal(errno_of_send(5), EPIPE, "send");
              require_text(received(7), "half", "bytes");
              require_text(received(7), "", "end of file");
              require_equal(errno_of_send(8), EPIPE, "send after shutdown");
              send_all(7, "open");
              require_text(received(8), "open", "other direction");
              require_text(received(9), "<ECONNRESET>", "reset");
            }));
}

TEST(UnixListeners, WithTheirConnectionsAndQueue) {
  TemporaryDirectory directory;
  std::string path = directory.file("socket");
  for (const std::string& name : {path, abstract_name("listener")}) {
    auto saved = save_program([&] {
      put_at(named_socket(SOCK_STREAM, name), 5);
      require_equal(::listen(5, 3), 0, "listen");
      if (name == path) ::chmod(path.c_str(), 0640);
      put_at(connected_socket(SocketAddress::of_unix(name)), 6);
      put_at(accepted_socket(5), 7);
      put_at(connected_socket(SocketAddress::of_unix(name)), 8);  // waits in the queue
      send_all(6, "to the server");
      send_all(7, "to the client");
    });
    EXPECT_EQ("", look_inside(*saved, [&] {
                require(SocketAddress::local_of(7).unix_name() == name, "name of the accepted end");
                require(SocketAddress::peer_of(6).value().unix_name() == name, "name of the peer");
                require_text(received(7), "to the server", "bytes");
                require_text(received(6), "to the client", "bytes");
                put_at(accepted_socket(5), 9);
                send_all(8, "late");
                require_text(received(9), "late", "bytes");
                ::close(connected_socket(SocketAddress::of_unix(name)));
                struct stat status {};
                if (name == path && ::stat(path.c_str(), &status) == 0)
                  require_equal(status.st_mode & 0777, 0640, "mode");
              }));
  }
}

TEST(UnixNames, OfDatagramSockets) {
  TemporaryDirectory directory;
  std::string server = directory.file("server");
  std::string client = directory.file("client");
  auto saved = save_program([&] {
    put_at(named_socket(SOCK_DGRAM, server), 5);
    put_at(named_socket(SOCK_DGRAM, client), 6);
    connect_to(6, SocketAddress::of_unix(server));
    send_all(6, "with a name");
    int gone = named_socket(SOCK_DGRAM, abstract_name("gone"));
    connect_to(gone, SocketAddress::of_unix(server));
    send_all(gone, "from one that is gone");
    ::close(gone);
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              std::array<char, 100> text{};
              sockaddr_storage source{};
              socklen_t length = sizeof source;
              require_equal(::recvfrom(5, text.data(), text.size(), MSG_DONTWAIT,
                                       reinterpret_cast<sockaddr*>(&source), &length),
                            11, "datagram");
              require_text(SocketAddress::from(source, length).text(), client, "sender");
              require_text(received(5), "from one that is gone", "datagram");
              send_all(6, "again");
              require_text(received(5), "again", "datagram");
            }));
}

TEST(UnixNames, FileThatIsGoneStaysGoneAndTakenNamesAreTold) {
  TemporaryDirectory directory;
  std::string path = directory.file("socket");
  auto saved = save_program([&] {
    put_at(named_socket(SOCK_STREAM, path), 5);
    require_equal(::listen(5, 3), 0, "listen");
  });
  {
    std::filesystem::remove(path);
    UniqueFd other(named_socket(SOCK_STREAM, path));
    std::vector<LostAddress> lost;
    check_descriptors(saved->checkpoint, nullptr, &lost);
    ASSERT_EQ(1U, lost.size());
    EXPECT_EQ(path, lost[0].address);
    EXPECT_THAT(look_inside(*saved, [] {}), AllOf(HasSubstr(path), HasSubstr("EADDRINUSE")));
  }
  check_descriptors(saved->checkpoint);
  std::filesystem::remove(path);
  auto unlinked = save_program([&] {
    put_at(named_socket(SOCK_STREAM, path), 5);
    ::unlink(path.c_str());
  });
  EXPECT_EQ("", look_inside(*unlinked, [&] {
              require_text(SocketAddress::local_of(5).text(), path, "name");
              require(!std::filesystem::exists(path), "no file");
            }));
}

TEST(UnixConnections, ToTheOutsideComeBackReset) {
  std::string name = abstract_name("outside");
  auto saved = save_program([&] {
    int listener = named_socket(SOCK_STREAM, name);
    require_equal(::listen(listener, 5), 0, "listen");
    outside([&] {
      int fd = accepted_socket(listener);
      send_all(fd, "waiting");
      return fd;
    });
    put_at(connected_socket(SocketAddress::of_unix(name)), 5);
    wait_for_bytes(5);
    ::close(listener);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require((events_of(5) & (POLLHUP | POLLERR)) == (POLLHUP | POLLERR), "poll");
              require_text(received(5), "waiting", "bytes");
              require_text(received(5), "<ECONNRESET>", "reset");
              require_text(received(5), "", "end of file");
              require_equal(errno_of_send(5), EPIPE, "send");
            }));
}

TEST(UnixConnections, NotYetAcceptedOutsideAreLostToo) {
  TemporaryDirectory directory;
  std::string path = directory.file("socket");
  UniqueFd listener(named_socket(SOCK_STREAM, path));
  ASSERT_EQ(0, ::listen(listener.get(), 5));
  auto saved = save_program([&] { put_at(connected_socket(SocketAddress::of_unix(path)), 5); });
  EXPECT_EQ("", look_inside(*saved, [] { require_text(received(5), "<ECONNRESET>", "reset"); }));
}

TEST(UnixDescriptorsUnderWay, ArriveWhateverTheyAre) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "0123456789");
  for (int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    auto saved = save_program([&] {
      make_pair_at(5, 6, type);
      int file = require_fd(::open(path.c_str(), O_RDONLY), "open");
      ::lseek(file, 4, SEEK_SET);
      send_descriptor(5, "a", file);
      send_descriptor(5, "b", file);
      ::close(file);
      put_at(::open("/dev/null", O_RDONLY), 9);
      send_descriptor(5, "c", 9);
      // A socket under way, in which a descriptor is under way.
      make_pair_at(7, 8, SOCK_STREAM);
      send_descriptor(8, "inner", 9);
      send_descriptor(5, "d", 7);
      ::close(7);
    });
    EXPECT_EQ("", look_inside(*saved, [] {
                require_text(receive_descriptor(6, 20), "a", "first");
                require_text(receive_descriptor(6, 21), "b", "second");
                require_text(receive_descriptor(6, 22), "c", "third");
                require_text(receive_descriptor(6, 23), "d", "fourth");
                require(same_file_description(20, 21), "the same description twice");
                require(same_file_description(22, 9), "a description that has a number too");
                require_text(read_available(20), "456789", "file");
                require_text(receive_descriptor(23, 24), "inner", "within the socket");
                require(same_file_description(24, 9), "the descriptor within");
                send_all(8, "still connected");
                require_text(received(23), "still connected", "bytes");
              }));
  }
}

TEST(NetlinkSockets, AreOpenedAgain) {
  auto saved = save_program([] {
    put_at(require_fd(::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), "socket"), 5);
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK;
    require(::bind(5, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "bind");
    set_option(5, 270, NETLINK_EXT_ACK, 1);
  });
  check_descriptors(saved->checkpoint);
  EXPECT_EQ("", look_inside(*saved, [] {
              sockaddr_nl address{};
              socklen_t length = sizeof address;
              ::getsockname(5, reinterpret_cast<sockaddr*>(&address), &length);
              require_equal(address.nl_groups, RTMGRP_LINK, "groups");
              require(address.nl_pid != 0, "port");
              require_equal(option_of(5, 270, NETLINK_EXT_ACK), 1, "NETLINK_EXT_ACK");
            }));
}

}  // namespace
}  // namespace ckpt::engine
