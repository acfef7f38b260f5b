#include "launcher/outside_leases.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "base/error.h"
#include "launcher/reconnect.h"
#include "temporary_directory.h"

namespace ckpt::launcher {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// A socket of 127.0.0.1 at a port that the kernel has chosen.
class LocalSocket {
 public:
  explicit LocalSocket(bool listens) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* plain = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_.get(), plain, size), 0);
    EXPECT_TRUE(!listens || ::listen(fd_.get(), 5) == 0);
    EXPECT_EQ(::getsockname(fd_.get(), plain, &size), 0);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&address);
    bytes_.assign(bytes, bytes + size);
    port_ = std::to_string(ntohs(address.sin_port));
  }

  Endpoint place() const { return {.host = "127.0.0.1", .port = port_}; }
  engine::OutsideConnection connection_to_here() const {
    return {.inode = 7,
            .family = AF_INET,
            .peer = to_string(place()),
            .peer_address = bytes_,
            .host = "the-server",
            .open_both_ways = true,
            .unread_bytes = 0};
  }
  // What the next client has sent, until it closes.
  std::string accept_and_read() const {
    UniqueFd client(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string text;
    std::array<char, 64> buffer;
    for (ssize_t got = 0; (got = ::read(client.get(), buffer.data(), buffer.size())) > 0;)
      text.append(buffer.data(), static_cast<std::size_t>(got));
    return text;
  }

 private:
  UniqueFd fd_;
  std::vector<std::uint8_t> bytes_;
  std::string port_;
};

TEST(Reconnect, SendsThePreambleToWhoeverAnswers) {
  LocalSocket server(true);
  Reconnected made = reconnect(server.place(), AF_INET, "hello");
  EXPECT_EQ(made.failure, "");
  made.socket.reset();
  EXPECT_EQ(server.accept_and_read(), "hello");
}

TEST(Reconnect, SaysWhyNobodyAnswers) {
  LocalSocket silent(false);
  Reconnected made = reconnect(silent.place(), AF_INET, "");
  EXPECT_FALSE(made.socket);
  EXPECT_THAT(made.failure, StartsWith(to_string(silent.place()) + ": "));
  EXPECT_FALSE(reconnect({.host = "127.0.0.1", .port = "no such service"}, AF_INET, "").failure.empty());
}

TEST(Reconnect, APlaceIsKnownByItsAddressAndByItsName) {
  LocalSocket server(true);
  engine::OutsideConnection connection = server.connection_to_here();
  EXPECT_TRUE(leads_to(connection, server.place()));
  EXPECT_TRUE(leads_to(connection, {.host = "the-server", .port = server.place().port}));
  EXPECT_FALSE(leads_to(connection, {.host = "127.0.0.1", .port = "1"}));
  EXPECT_FALSE(leads_to(connection, {.host = "127.0.0.2", .port = server.place().port}));
}

class OutsideLeasesTest : public testing::Test {
 protected:
  OutsideLeases leases_for(const std::vector<Endpoint>& places, std::optional<LeasePolicy> policy) {
    std::vector<ConnectLease> leases;
    if (!places.empty()) leases.push_back({.places = places, .send_file = {}});
    return {std::move(leases), policy, KeptPolicy{}, directory_.descriptor(), messages_};
  }
  std::vector<std::string> logged() const {
    std::vector<std::string> lines;
    for (const LeaseChange& change : LeaseLog(directory_.descriptor()).changes())
      lines.push_back(change.kind + " " + std::string(name_of(change.state)) + " " + change.detail);
    return lines;
  }

  TemporaryDirectory directory_;
  UniqueFd nowhere_{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Messages messages_{"test", nowhere_.get()};
};

TEST_F(OutsideLeasesTest, AConnectionMovesToTheFirstPlaceThatAnswers) {
  LocalSocket silent(false);
  LocalSocket server(true);
  OutsideLeases leases = leases_for({silent.place(), server.place()}, std::nullopt);
  engine::SocketPolicy sockets;
  leases.look({.listening = {}, .connections = {silent.connection_to_here()}, .lost_addresses = {}}, sockets);
  EXPECT_EQ(sockets.reconnected.count(7), 1U);
  EXPECT_THAT(logged(), IsEmpty()) << "the program is not there yet";
  leases.settle();
  EXPECT_THAT(logged(),
              ElementsAre(StartsWith("connect expired"), "connect moved " + to_string(server.place())));
}

TEST_F(OutsideLeasesTest, AConnectionWithUnreadBytesIsLost) {
  LocalSocket server(true);
  engine::OutsideConnection connection = server.connection_to_here();
  connection.unread_bytes = 3;
  engine::SocketNeeds needs{.listening = {}, .connections = {connection}, .lost_addresses = {}};
  engine::SocketPolicy sockets;
  leases_for({server.place()}, std::nullopt).look(needs, sockets);
  EXPECT_THAT(sockets.reconnected, IsEmpty());
  EXPECT_THAT(logged(), ElementsAre(StartsWith("connect expired"), HasSubstr("connect lost 3 bytes")));
  EXPECT_THROW(leases_for({server.place()}, LeasePolicy::kFail).look(needs, sockets), Error);
}

TEST_F(OutsideLeasesTest, AnAddressIsGivenUpOnlyWhereThatIsAskedFor) {
  engine::LostAddress lost{
      .inode = 9, .what = "TCP socket", .address = "127.0.0.1:80", .error = EADDRINUSE, .descriptor = 4};
  engine::SocketNeeds needs{
      .listening = {{.inode = 9, .address = "127.0.0.1:80"}, {.inode = 10, .address = "/x"}},
      .connections = {},
      .lost_addresses = {lost}};
  engine::SocketPolicy sockets;
  EXPECT_THROW(leases_for({}, std::nullopt).look(needs, sockets), Error);
  EXPECT_THROW(leases_for({}, LeasePolicy::kFail).look(needs, sockets), Error);
  OutsideLeases leases = leases_for({}, LeasePolicy::kNotify);
  leases.look(needs, sockets);
  EXPECT_THAT(sockets.lost_addresses, ElementsAre(9));
  EXPECT_EQ(leases.lock_policy(std::nullopt), engine::LockPolicy::kIgnore);
  EXPECT_EQ(leases.lock_policy(engine::LockPolicy::kWait), engine::LockPolicy::kWait);
  leases.settle();
  EXPECT_THAT(logged(),
              ElementsAre(StartsWith("listen expired"), StartsWith("listen lost"), StartsWith("listen lost"),
                          StartsWith("listen lost"), StartsWith("listen expired"), "listen re-established "));
}

}  // namespace
}  // namespace ckpt::launcher
