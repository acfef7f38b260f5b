#include "launcher/process_identity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "child_process.h"

namespace ckpt::launcher {
namespace {

using namespace std::chrono_literals;

TEST(ProcessIdentity, LivingProcessIsRunning) {
  EXPECT_EQ(liveness(*identify_process(::getpid())), Liveness::kRunning);
}

TEST(ProcessIdentity, SamePidWithAnotherStartTimeIsAnotherProcess) {
  ProcessIdentity self = *identify_process(::getpid());
  ++self.start_time;
  EXPECT_EQ(liveness(self), Liveness::kGone);
}

TEST(ProcessIdentity, ProcessOfAnotherBootIsGone) {
  ProcessIdentity self = *identify_process(::getpid());
  self.boot_id = "00000000-0000-0000-0000-000000000000";
  EXPECT_EQ(liveness(self), Liveness::kGone);
}

TEST(ProcessIdentity, ZombieIsGone) {
  ChildProcess child;
  ProcessIdentity identity = *identify_process(child.pid());
  child.kill();
  child.wait_for_zombie();
  EXPECT_EQ(liveness(identity), Liveness::kGone);
}

TEST(ProcessIdentity, StoppedProcessIsSeenAsStopped) {
  ChildProcess child;
  ::kill(child.pid(), SIGSTOP);
  child.wait_for_stop();
  EXPECT_EQ(liveness(*identify_process(child.pid())), Liveness::kStopped);
}

TEST(ProcessIdentity, KilledProcessIsWaitedFor) {
  ChildProcess child;
  ProcessIdentity identity = *identify_process(child.pid());
  child.kill();
  EXPECT_TRUE(wait_until_gone(identity, 10s));
}

TEST(ProcessIdentity, LivingProcessOutlastsTheGrace) {
  EXPECT_FALSE(wait_until_gone(*identify_process(::getpid()), 1ms));
}

}  // namespace
}  // namespace ckpt::launcher
