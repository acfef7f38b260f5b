#include "launcher/held_leases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_directory.h"

namespace ckpt::launcher {
namespace {

using testing::ElementsAre;

class HeldLeasesTest : public testing::Test {
 protected:
  std::vector<std::string> logged() const {
    std::vector<std::string> lines;
    for (const LeaseChange& change : log_.changes())
      lines.push_back(change.kind + " " + change.name + " " + std::string(name_of(change.state)));
    return lines;
  }

  TemporaryDirectory directory_;
  LeaseLog log_{directory_.descriptor()};
};

engine::OutsideHoldings listening_and_connected() {
  engine::OutsideHoldings holdings;
  holdings.sockets.listening = {{.inode = 1, .address = "127.0.0.1:80"}};
  holdings.sockets.connections = {{.inode = 2,
                                   .family = 2,
                                   .peer = "127.0.0.2:81",
                                   .peer_address = {},
                                   .host = "db",
                                   .open_both_ways = true,
                                   .unread_bytes = 0}};
  holdings.locked_files = {"/lock", "/lock", ""};
  return holdings;
}

TEST_F(HeldLeasesTest, AreActiveOnceACheckpointHasFoundThem) {
  log_holdings(log_, listening_and_connected());
  log_holdings(log_, listening_and_connected());
  EXPECT_THAT(logged(), ElementsAre("listen 127.0.0.1:80 active", "connect 127.0.0.2:81 (db) active",
                                    "lock /lock active"));
}

TEST_F(HeldLeasesTest, ExpireWhenTheProgramGivesThemUpOrEnds) {
  log_holdings(log_, listening_and_connected());
  engine::OutsideHoldings less = listening_and_connected();
  less.locked_files.clear();
  log_holdings(log_, less);
  log_.append({.name = "licence", .kind = "exec", .state = LeaseState::kActive, .detail = {}, .data = {}});
  log_expired(log_, true);
  log_expired(log_, false);
  std::vector<std::string> all = logged();
  EXPECT_THAT(std::vector<std::string>(all.begin() + 3, all.end()),
              ElementsAre("lock /lock expired", "exec licence active", "listen 127.0.0.1:80 expired",
                          "connect 127.0.0.2:81 (db) expired"));
}

TEST_F(HeldLeasesTest, AKeptConnectionOutlivesASuspendOnly) {
  engine::OutsideHoldings holdings = listening_and_connected();
  holdings.sockets.kept = {{.inode = 2, .peer = "127.0.0.2:81", .host = "db"}};
  log_holdings(log_, holdings);
  log_expired(log_, true);
  EXPECT_EQ(log_.state("127.0.0.2:81 (db)")->state, LeaseState::kActive);
  EXPECT_EQ(log_.state("127.0.0.1:80")->state, LeaseState::kExpired);
  log_expired(log_, false);
  EXPECT_EQ(log_.state("127.0.0.2:81 (db)")->state, LeaseState::kExpired);
}

}  // namespace
}  // namespace ckpt::launcher
