#include "launcher/lease.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "base/unique_fd.h"
#include "launcher/exec_leases.h"
#include "launcher/lease_log.h"
#include "launcher/signal_gate.h"
#include "launcher/timed_command.h"
#include "temporary_directory.h"

namespace ckpt::launcher {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Lease, IsReadAsItWasWritten) {
  ExecLease lease = parse_exec_lease("exec:db=etcdctl lease grant 30, x=y");
  EXPECT_EQ(lease.name, "db");
  EXPECT_EQ(lease.command, "etcdctl lease grant 30, x=y");
  EXPECT_EQ(lease.limit, std::chrono::seconds(30));
  ExecLease limited = parse_exec_lease("exec:a.b-c_1,limit=250ms=true");
  EXPECT_EQ(limited.limit, std::chrono::milliseconds(250));
  EXPECT_EQ(parse_exec_lease(to_string(limited)), limited);
}

TEST(Lease, NonsenseIsRefused) {
  for (const char* text :
       {"", "db=true", "exec:=true", "exec:db", "exec:db=", "exec:a b=true", "exec:db,limit=5=true",
        "exec:db,limit=1s", "exec:db,other=1=true", "connect:=reconnect", "connect:host=reconnect",
        "connect:host:=reconnect", "connect::80=reconnect", "connect:a:1,=reconnect",
        "connect:a:1,send==reconnect", "connect:a:1", "connect:::1:80=reconnect"}) {
    EXPECT_THROW(parse_leases({text}), Error) << text;
  }
  EXPECT_THROW(parse_lease_policy("die"), Error);
}

TEST(Lease, TheLastOfOneNameCounts) {
  std::vector<ExecLease> leases = parse_leases({"exec:a=1", "exec:b=2", "exec:a=3"}).exec;
  ASSERT_EQ(leases.size(), 2U);
  EXPECT_EQ(leases[0].command, "2");
  EXPECT_EQ(leases[1].command, "3");
}

TEST(Lease, AFileIsTheSameFromWhereverItIsRead) {
  EXPECT_EQ(absolute_specification("connect:a:1,b:2,send=hello=reconnect", "/home/me"),
            "connect:a:1,b:2,send=/home/me/hello=reconnect");
  EXPECT_EQ(absolute_specification("connect:a:1,send=../b=reconnect", "/home/me"),
            "connect:a:1,send=/home/b=reconnect");
  for (const char* same : {"connect:a:1,send=/b=reconnect", "connect:a:1=reconnect", "exec:a=b,send=c"})
    EXPECT_EQ(absolute_specification(same, "/home/me"), same);
}

TEST(Lease, OfAConnectionNamesItsPlaces) {
  ConnectLease lease = parse_connect_lease("connect:db.example:5432=reconnect");
  EXPECT_THAT(lease.places, ElementsAre(Endpoint{"db.example", "5432"}));
  EXPECT_EQ(lease.send_file, "");
  lease = parse_connect_lease("connect:[::1]:redis,10.0.0.2:6379,send=/a,b=c=reconnect");
  EXPECT_THAT(lease.places, ElementsAre(Endpoint{"::1", "redis"}, Endpoint{"10.0.0.2", "6379"}));
  EXPECT_EQ(lease.send_file, "/a,b=c");
  EXPECT_EQ(to_string(lease.places[0]), "[::1]:redis");
  EXPECT_EQ(parse_leases({"connect:a:1,b:2=reconnect", "exec:x=y", "connect:a:1=reconnect"}).connect.size(),
            1U);
}

class LeaseFiles : public testing::Test {
 protected:
  void TearDown() override { signals_.restore_for_exec(); }
  // What a lease's command appended to the file "events".
  std::vector<std::string> events() const {
    std::vector<std::string> lines;
    std::ifstream file(directory_.path() + "/events");
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  std::string recording(const std::string& then) const {
    return "echo $CKPT_LEASE_EVENT $CKPT_LEASE_NAME $CKPT_LEASE_DATA >>" + directory_.path() + "/events; " +
           then;
  }
  ExecLeases leases(std::vector<ExecLease> list, LeasePolicy policy = LeasePolicy::kNotify) {
    return {std::move(list), policy, "app", directory_.descriptor(), signals_, messages_};
  }
  std::vector<std::string> states() const {
    std::vector<std::string> found;
    for (const LeaseChange& change : LeaseLog(directory_.descriptor()).changes())
      found.push_back(change.name + " " + std::string(name_of(change.state)));
    return found;
  }

  TemporaryDirectory directory_;
  UniqueFd null_{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  SignalGate signals_;
  Messages messages_{"test", null_.get()};
};

TEST_F(LeaseFiles, LogRemembersTheLastState) {
  LeaseLog log(directory_.descriptor());
  EXPECT_TRUE(log.changes().empty());
  log.append({.name = "a", .kind = "exec", .state = LeaseState::kActive, .detail = {}, .data = "7"});
  log.append({.name = "b", .kind = "exec", .state = LeaseState::kActive, .detail = {}, .data = {}});
  log.append({.name = "a", .kind = "exec", .state = LeaseState::kLost, .detail = "gone", .data = "7"});
  EXPECT_EQ(log.changes().size(), 3U);
  ASSERT_EQ(log.states().size(), 2U);
  EXPECT_EQ(log.state("a")->state, LeaseState::kLost);
  EXPECT_EQ(log.state("a")->detail, "gone");
  EXPECT_EQ(log.state("a")->data, "7");
  EXPECT_FALSE(log.state("c").has_value());
}

TEST_F(LeaseFiles, CommandsAreToldWhatHappensAndWhatTheySaid) {
  ExecLease first{
      .name = "one", .command = recording("echo id-$CKPT_LEASE_EVENT"), .limit = std::chrono::seconds(30)};
  ExecLease second{.name = "two", .command = recording("true"), .limit = std::chrono::seconds(30)};
  {
    ExecLeases held = leases({first, second});
    held.issue();
  }
  {
    ExecLeases held = leases({first});
    held.renew();
  }
  EXPECT_THAT(events(), ElementsAre("issue one", "issue two", "expire two", "expire one id-issue",
                                    "renew one id-expire", "expire one id-renew"));
  EXPECT_THAT(states(), ElementsAre("one active", "two active", "two expired", "one expired",
                                    "one re-established", "one expired"));
}

TEST_F(LeaseFiles, WhatCannotBeRenewedIsLost) {
  ExecLease fails{
      .name = "bad", .command = recording("echo why >&2; exit 3"), .limit = std::chrono::seconds(30)};
  ExecLease hangs{.name = "slow", .command = "sleep 1000", .limit = std::chrono::milliseconds(50)};
  leases({fails, hangs}).renew();
  EXPECT_THAT(events(), ElementsAre("renew bad", "lost bad"));
  std::vector<LeaseChange> lost = LeaseLog(directory_.descriptor()).states();
  ASSERT_EQ(lost.size(), 2U);
  EXPECT_THAT(lost[0].detail, HasSubstr("exited with 3: why"));
  EXPECT_THAT(lost[1].detail, HasSubstr("not done within 0.05 s"));
}

TEST_F(LeaseFiles, PolicyFailGivesBackWhatWasHeld) {
  ExecLease good{.name = "good", .command = recording("true"), .limit = std::chrono::seconds(30)};
  ExecLease bad{.name = "bad", .command = recording("exit 1"), .limit = std::chrono::seconds(30)};
  EXPECT_THROW(leases({good, bad}, LeasePolicy::kFail).renew(), Error);
  EXPECT_THAT(events(), ElementsAre("renew good", "renew bad", "lost bad", "expire good"));
}

TEST_F(LeaseFiles, CommandsMayLeaveSomethingRunning) {
  CommandOutcome outcome =
      run_command("sleep 1000 & echo $!; echo done", {}, std::chrono::seconds(60), signals_);
  EXPECT_TRUE(outcome.succeeded());
  EXPECT_THAT(outcome.output, HasSubstr("done"));
  ::kill(std::stoi(outcome.output), SIGKILL);
}

}  // namespace
}  // namespace ckpt::launcher
