#include "engine/process/children.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

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

TEST(Children, AreRefusedByName) {
  ChildProgram program([] { start_named_child("busy worker"); });
  EXPECT_THAT(refusal_to_save(program.pid()),
              testing::ContainsRegex("child processes: [0-9]+ \\(busy worker\\)"));
}

TEST(Children, OfAnyThreadAreRefused) {
  ChildProgram program([] {
    std::thread([] {
      start_named_child("of thread");
      for (;;) pause();
    }).detach();
    siginfo_t info{};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) sched_yield();
  });
  EXPECT_THAT(refusal_to_save(program.pid()), testing::HasSubstr("child processes"));
}

TEST(Children, EndedOnesThatNobodyWaitedForAreRefused) {
  ChildProgram program(leave_zombie);
  EXPECT_THAT(refusal_to_save(program.pid()),
              testing::ContainsRegex("child processes: [0-9]+ \\(.*, ended\\)"));
}

TEST(Children, ThreadsAreNone) {
  ChildProgram program([] {
    std::thread([] {
      for (;;) pause();
    }).detach();
  });
  EXPECT_EQ(refusal_to_save(program.pid()), "");
}

TEST(Children, WaitedForAreForgotten) {
  ChildProgram program([] {
    leave_zombie();
    wait(nullptr);
  });
  EXPECT_EQ(refusal_to_save(program.pid()), "");
}

}  // namespace
}  // namespace ckpt::engine
