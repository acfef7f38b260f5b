#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "launcher/control_client.h"
#include "launcher/control_protocol.h"
#include "launcher/control_server.h"
#include "launcher/control_socket.h"
#include "temporary_directory.h"

namespace ckpt::launcher {
namespace {

using testing::HasSubstr;

TEST(ControlProtocol, RequestsComeBackAsSent) {
  for (ControlCommand command : {ControlCommand::kCheckpoint, ControlCommand::kSuspend,
                                 ControlCommand::kStatus, ControlCommand::kRemove}) {
    ControlRequest read = parse_request(format_request({.command = command, .version = 7}));
    EXPECT_EQ(read.command, command);
    EXPECT_EQ(read.version, command == ControlCommand::kRemove ? 7U : 0U);
  }
}

TEST(ControlProtocol, BadRequestsAreRefused) {
  for (const char* line : {"", "{", "[]", "null", "7", "{}", "{\"command\":7}", "{\"command\":\"explode\"}",
                           "{\"command\":\"remove\"}", "{\"command\":\"remove\",\"version\":-1}",
                           "{\"command\":\"remove\",\"version\":0}", "\xff\xfe{"}) {
    EXPECT_THROW(parse_request(line), Error) << line;
  }
}

TEST(ControlProtocol, UnknownKeysAreIgnored) {
  EXPECT_EQ(parse_request("{\"command\":\"status\",\"later\":[1]}").command, ControlCommand::kStatus);
}

TEST(ControlProtocol, ErrorsReachTheClientAsErrors) {
  EXPECT_EQ(parse_reply(success_reply({{"version", 3}})).at("version"), 3);
  EXPECT_THROW(parse_reply(error_reply("disk full; make room")), Error);
  EXPECT_THROW(parse_reply("{}"), Error);
  EXPECT_THROW(parse_reply("nonsense"), Error);
}

class ControlChannel : public testing::Test {
 protected:
  UniqueFd connect() const {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = control_address(directory_.descriptor());
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }

  // Serves until a line arrives or all clients are gone.
  std::vector<ControlServer::Line> serve_until_something() {
    for (;;) {
      std::vector<pollfd> polled;
      server_.add_to(polled);
      if (::poll(polled.data(), polled.size(), -1) < 0) return {};
      std::vector<ControlServer::Line> lines = server_.serve();
      std::vector<pollfd> left;
      server_.add_to(left);
      if (!lines.empty() || left.size() < polled.size()) return lines;
    }
  }

  static void send(const UniqueFd& socket, const std::string& text) {
    EXPECT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  TemporaryDirectory directory_;
  ControlServer server_{directory_.descriptor()};
};

TEST_F(ControlChannel, ClientGetsTheAnswerToItsRequest) {
  nlohmann::json reply;
  std::jthread client([&] {
    reply = ask_supervisor(directory_.descriptor(), {.command = ControlCommand::kCheckpoint, .version = 0})
                .value();
  });
  std::vector<ControlServer::Line> lines = serve_until_something();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(parse_request(lines[0].text).command, ControlCommand::kCheckpoint);
  server_.send(lines[0].client, success_reply({{"version", 5}}));
  client.join();
  EXPECT_EQ(reply.at("version"), 5);
}

TEST_F(ControlChannel, SocketBelongsToItsOwnerOnly) {
  struct stat info {};
  ASSERT_EQ(::stat((directory_.path() + "/control").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U);
}

TEST_F(ControlChannel, LinesArriveWholeHoweverTheyAreCut) {
  UniqueFd client = connect();
  send(client, "on");
  send(client, "e\ntwo\nth");
  std::vector<std::string> texts;
  while (texts.size() < 2) {
    for (const ControlServer::Line& line : serve_until_something()) texts.push_back(line.text);
  }
  EXPECT_THAT(texts, testing::ElementsAre("one", "two"));
}

TEST_F(ControlChannel, ClientWithAnEndlessLineIsDropped) {
  UniqueFd client = connect();
  std::jthread sender([&] {
    std::string chunk(4096, 'x');
    while (::send(client.get(), chunk.data(), chunk.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  EXPECT_TRUE(serve_until_something().empty());
}

TEST_F(ControlChannel, ClientThatWentAwayIsNoTrouble) {
  UniqueFd client = connect();
  send(client, "hello\n");
  std::vector<ControlServer::Line> lines = serve_until_something();
  ASSERT_EQ(lines.size(), 1U);
  client.reset();
  EXPECT_NO_THROW(server_.send(lines[0].client, "answer\n"));
  EXPECT_NO_THROW(server_.send(lines[0].client, "answer\n"));
}

TEST_F(ControlChannel, ClientThatDoesNotReadIsDroppedInsteadOfWaitedFor) {
  UniqueFd client = connect();
  send(client, "hello\n");
  std::vector<ControlServer::Line> lines = serve_until_something();
  ASSERT_EQ(lines.size(), 1U);
  std::string answer(16384, 'y');
  std::vector<pollfd> polled;
  do {
    server_.send(lines[0].client, answer);
    polled.clear();
    server_.add_to(polled);
  } while (polled.size() > 1);
}

TEST(ControlServer, ReplacesTheSocketOfADeadSupervisor) {
  TemporaryDirectory directory;
  { ControlServer dead(directory.descriptor()); }
  EXPECT_FALSE(ask_supervisor(directory.descriptor(), {}).has_value());
  EXPECT_NO_THROW(ControlServer(directory.descriptor()));
}

TEST(ControlServer, WorksUnderAPathLongerThanASocketAddress) {
  TemporaryDirectory directory;
  std::string deep = directory.path() + "/" + std::string(200, 'd');
  std::filesystem::create_directory(deep);
  UniqueFd descriptor = open_or_throw(deep, O_RDONLY | O_DIRECTORY);
  ControlServer server(descriptor.get());
  EXPECT_TRUE(std::filesystem::exists(deep + "/control"));
}

}  // namespace
}  // namespace ckpt::launcher
