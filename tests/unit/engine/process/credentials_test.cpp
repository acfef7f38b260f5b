#include "engine/process/credentials.h"

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "engine/process/process_state.h"
#include "process/traced_child_support.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kAll = 0x1ffffffffff;
constexpr std::uint32_t kOtherUser = 65534;

image::CredentialsT root() {
  image::CredentialsT credentials;
  credentials.uids = {0, 0, 0, 0};
  credentials.gids = {0, 0, 0, 0};
  credentials.capabilities = {0, kAll, kAll, kAll, 0};
  return credentials;
}

image::CredentialsT user(std::uint32_t id) {
  image::CredentialsT credentials;
  credentials.uids = {id, id, id, id};
  credentials.gids = {id, id, id, id};
  credentials.capabilities = {0, 0, 0, kAll, 0};
  return credentials;
}

TEST(CredentialsObstacle, NoneForOnesOwn) {
  EXPECT_FALSE(credentials_obstacle(root(), root()));
  EXPECT_FALSE(credentials_obstacle(user(1000), user(1000)));
}

TEST(CredentialsObstacle, RootMayBecomeAnyUser) { EXPECT_FALSE(credentials_obstacle(user(1000), root())); }

TEST(CredentialsObstacle, UsersMayNotBecomeOthers) {
  EXPECT_THAT(credentials_obstacle(root(), user(1000)).value_or(""), testing::HasSubstr("runs as user 0"));
  EXPECT_TRUE(credentials_obstacle(user(1001), user(1000)));
}

TEST(CredentialsObstacle, RootMayHaveAny) {
  image::CredentialsT any = user(1000);
  any.uids = {0, 1000, 0, 1000};
  any.capabilities[1] = 0xff;
  any.securebits = 1;
  EXPECT_FALSE(credentials_obstacle(any, root()));
}

TEST(CredentialsObstacle, RootThatMayNotBecomeOthersIsNoRoot) {
  image::CredentialsT own = root();
  own.capabilities[1] = own.capabilities[2] = 0;
  EXPECT_TRUE(credentials_obstacle(user(1000), own));
}

TEST(CredentialsObstacle, SeveralIdsAtOnceAreRefused) {
  image::CredentialsT mixed = user(1000);
  mixed.uids = {1000, 1001, 1000, 1001};
  EXPECT_TRUE(credentials_obstacle(mixed, user(1000)));
}

TEST(CredentialsObstacle, UserThatKeptCapabilitiesIsRefused) {
  image::CredentialsT kept = user(1000);
  kept.capabilities[1] = 0xff;
  EXPECT_THAT(credentials_obstacle(kept, user(1000)).value_or(""), testing::HasSubstr("capabilities"));
}

TEST(CredentialsObstacle, OtherSecurebitsAreRefused) {
  image::CredentialsT locked = user(1000);
  locked.securebits = 1;
  EXPECT_TRUE(credentials_obstacle(locked, user(1000)));
}

TEST(CredentialsObstacle, SecurebitThatAnybodyMaySetIsNone) {
  image::CredentialsT kept = user(1000);
  kept.securebits = 1U << 4U;  // SECBIT_KEEP_CAPS
  EXPECT_FALSE(credentials_obstacle(kept, user(1000)));
}

TEST(CredentialsObstacle, BoundingSetOfAUserNamespaceDoesNotMatterToUsers) {
  image::CredentialsT inside = user(1000);
  image::CredentialsT outside = user(1000);
  outside.capabilities[3] = 0xff;
  EXPECT_FALSE(credentials_obstacle(inside, outside));
}

TEST(Credentials, ProgramThatDroppedToAnotherUserIsRebuilt) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may become another user";
  ChildProgram child([] {
    gid_t group = 4711;
    if (setgroups(1, &group) != 0 || setresgid(kOtherUser, kOtherUser, kOtherUser) != 0 ||
        setresuid(kOtherUser, kOtherUser, kOtherUser) != 0) {
      throw std::runtime_error("cannot become another user");
    }
  });
  auto process = save(rebuild(*save(child.pid()))->pid());
  EXPECT_THAT(process->credentials->uids, testing::Each(kOtherUser));
  EXPECT_THAT(process->credentials->gids, testing::Each(kOtherUser));
  EXPECT_THAT(process->credentials->groups, testing::ElementsAre(4711));
}

TEST(Credentials, OfAnOrdinaryProgramNeedNothing) {
  ChildProgram child([] {});
  auto saved = save(child.pid());
  std::vector<std::string> notes;
  check_credentials(*saved, notes);
  EXPECT_THAT(notes, testing::IsEmpty());
}

TEST(Credentials, TemporarilyChangedUserIsRebuilt) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may become another user";
  ChildProgram child([] {
    if (setresuid(0, kOtherUser, 0) != 0) throw std::runtime_error("setresuid");
  });
  auto process = save(rebuild(*save(child.pid()))->pid());
  EXPECT_THAT(process->credentials->uids, testing::ElementsAre(0, kOtherUser, 0, kOtherUser));
}

TEST(Credentials, ThreadsThatDifferAreRefused) {
  ChildProgram child([] {
    std::thread([] {
      prctl(PR_SET_NAME, "sandboxed");
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      for (;;) pause();
    }).detach();
    while (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0) {
      // The other thread's flag shows only in /proc; its name, set before it, says that it has begun.
      if (ProcStatus::of_self().number("Threads", 10) == 2) break;
      sched_yield();
    }
  });
  std::string refusal;
  // The thread may still be on its way to set its flag; each look is a complete save.
  while ((refusal = refusal_to_save(child.pid())).empty()) sched_yield();
  EXPECT_THAT(refusal, testing::HasSubstr("has NoNewPrivs '1', the main thread '0'"));
}

TEST(Credentials, SeccompFiltersAreRefused) {
  ChildProgram child([] {
    sock_filter allow{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = SECCOMP_RET_ALLOW};
    sock_fprog filter{.len = 1, .filter = &allow};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) throw std::runtime_error("seccomp");
  });
  EXPECT_THAT(refusal_to_save(child.pid()), testing::HasSubstr("seccomp"));
}

TEST(Credentials, OfAnotherUserAreRefusedBeforeBuilding) {
  if (geteuid() == 0) GTEST_SKIP() << "root may become another user";
  ChildProgram child([] {});
  auto saved = save(child.pid());
  saved->credentials->uids = {0, 1, 0, 0};
  std::vector<std::string> notes;
  EXPECT_THROW(check_credentials(*saved, notes), Error);
}

}  // namespace
}  // namespace ckpt::engine
