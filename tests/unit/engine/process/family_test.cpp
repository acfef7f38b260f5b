#include "engine/process/family.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "process/traced_child_support.h"
#include "support/child_with_parent.h"

namespace ckpt::engine {
namespace {

void start_named_child(const char* name) {
  int ends[2];
  if (pipe(ends) != 0) return;
  if (tests::fork_child_that_ends_with_parent() == 0) {
    prctl(PR_SET_NAME, name);
    close(ends[0]);
    close(ends[1]);
    for (;;) pause();
  }
  close(ends[1]);
  char none;
  EXPECT_EQ(read(ends[0], &none, 1), 0);  // end of file: the child has its name
  close(ends[0]);
}

void leave_zombie() {
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
}

// The states of the program's children, in the order of their ids.
std::vector<bool> ended_children(pid_t program) {
  std::vector<bool> ended;
  for (const Relative& relative : list_family({.program = program})) {
    if (relative.pid == program) continue;
    EXPECT_EQ(relative.parent, program);
    ended.push_back(relative.ended);
  }
  return ended;
}

bool is_childless(pid_t pid) {
  try {
    save(pid);
    return true;
  } catch (const FamilyGrew&) {
    return false;
  }
}

TEST(Family, HasChildrenOfAnyThread) {
  ChildProgram program([] {
    std::thread([] {
      start_named_child("of thread");
      for (;;) pause();
    }).detach();
    siginfo_t info{};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) sched_yield();
  });
  EXPECT_THAT(ended_children(program.pid()), testing::ElementsAre(false));
  EXPECT_FALSE(is_childless(program.pid()));
}

TEST(Family, HasThoseThatNobodyWaitedFor) {
  ChildProgram program(leave_zombie);
  EXPECT_THAT(ended_children(program.pid()), testing::ElementsAre(true));
  EXPECT_FALSE(is_childless(program.pid()));
}

TEST(Family, HasNoThreads) {
  ChildProgram program([] {
    std::thread([] {
      for (;;) pause();
    }).detach();
  });
  EXPECT_THAT(ended_children(program.pid()), testing::IsEmpty());
  EXPECT_TRUE(is_childless(program.pid()));
}

TEST(Family, ForgetsThoseThatWereWaitedFor) {
  ChildProgram program([] {
    leave_zombie();
    wait(nullptr);
  });
  EXPECT_THAT(ended_children(program.pid()), testing::IsEmpty());
  EXPECT_TRUE(is_childless(program.pid()));
}

TEST(Family, ListsParentsBeforeTheirChildren) {
  ChildProgram program([] {
    start_named_child("first");
    if (tests::fork_child_that_ends_with_parent() != 0) return;
    start_named_child("grandchild");
    for (;;) pause();
  });
  while (list_family({.program = program.pid()}).size() < 4) sched_yield();
  std::set<pid_t> seen{0};
  for (const Relative& relative : list_family({.program = program.pid()})) {
    EXPECT_TRUE(seen.contains(relative.parent)) << relative.pid;
    seen.insert(relative.pid);
  }
}

TEST(Family, ProcessesThatAreGoneHaveEnded) {
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(has_ended(pid));
  waitpid(pid, nullptr, 0);
  EXPECT_TRUE(has_ended(pid));
  EXPECT_FALSE(has_ended(getpid()));
}

}  // namespace
}  // namespace ckpt::engine
