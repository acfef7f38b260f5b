// Who may choose process ids and shift clocks: root directly, an ordinary user in namespaces of his own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>

#include "child_support.h"

namespace ckpt::assumptions {
namespace {

constexpr int kRefused = 120;  // exit codes of children
constexpr int kWrong = 121;
constexpr pid_t kChosenInNamespace = 4242;

pid_t clone_process(std::uint64_t flags, const pid_t* wanted) {
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<std::uint64_t>(wanted);
  arguments.set_tid_size = wanted != nullptr ? 1 : 0;
  return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
}

int wait_for_code(pid_t pid) {
  int status = 0;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : kWrong;
}

// A pid that nobody has at the moment.
pid_t free_pid() {
  pid_t pid = 30000;
  while (kill(pid, 0) == 0 || errno != ESRCH) --pid;
  return pid;
}

TEST(ChosenPid, IsGrantedToRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  pid_t wanted = free_pid();
  pid_t child = clone_process(0, &wanted);
  if (child == 0) _exit(0);
  ASSERT_EQ(child, wanted) << errno;
  EXPECT_EQ(wait_for_code(child), 0);
}

TEST(ChosenPid, IsRefusedToAnOrdinaryUser) {
  Child child([] {
    if (!become_ordinary()) return kWrong;
    pid_t wanted = free_pid();
    pid_t clone = clone_process(0, &wanted);
    if (clone == 0) _exit(0);
    return clone < 0 && errno == EPERM ? 0 : kWrong;
  });
  EXPECT_EQ(child.exit_code(), 0);
}

TEST(ChosenPid, IsGrantedToAnOrdinaryUserInHisOwnNamespace) {
  Child child([] {
    if (!become_ordinary()) return kWrong;
    pid_t first = clone_process(CLONE_NEWUSER | CLONE_NEWPID, nullptr);
    if (first < 0) return kRefused;
    if (first == 0) {  // pid 1 of the namespace
      pid_t wanted = kChosenInNamespace;
      pid_t clone = clone_process(0, &wanted);
      if (clone == 0) _exit(getpid() == kChosenInNamespace ? 0 : kWrong);
      _exit(clone == kChosenInNamespace ? wait_for_code(clone) : kWrong);
    }
    return wait_for_code(first);
  });
  int code = child.exit_code();
  if (code == kRefused) GTEST_SKIP() << "ordinary users may not make user and pid namespaces here";
  EXPECT_EQ(code, 0);
}

TEST(FirstProcessOfAPidNamespace, CannotBeGivenAnotherPidThanOne) {
  Child child([] {
    if (!become_ordinary()) return kWrong;
    pid_t wanted = kChosenInNamespace;
    pid_t first = clone_process(CLONE_NEWUSER | CLONE_NEWPID, &wanted);
    if (first == 0) _exit(0);
    if (first > 0) return kWrong;
    return errno == EINVAL ? 0 : kRefused;
  });
  int code = child.exit_code();
  if (code == kRefused) GTEST_SKIP() << "ordinary users may not make user and pid namespaces here";
  EXPECT_EQ(code, 0);
}

TEST(MonotonicClock, IsShiftedInATimeNamespaceOfAnOrdinaryUser) {
  constexpr time_t kShiftSeconds = 100'000;
  Child child([] {
    if (!become_ordinary()) return kWrong;
    if (unshare(CLONE_NEWUSER | CLONE_NEWTIME) != 0) return kRefused;
    int offsets = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    constexpr const char* kOffset = "monotonic 100000 0\n";
    if (write(offsets, kOffset, std::strlen(kOffset)) < 0) return kWrong;
    timespec outside{};
    clock_gettime(CLOCK_MONOTONIC, &outside);
    pid_t inner = fork();  // children are in the new namespace, this process is not
    if (inner == 0) {
      timespec inside{};
      clock_gettime(CLOCK_MONOTONIC, &inside);
      _exit(inside.tv_sec >= outside.tv_sec + kShiftSeconds ? 0 : kWrong);
    }
    return wait_for_code(inner);
  });
  int code = child.exit_code();
  if (code == kRefused) GTEST_SKIP() << "ordinary users may not make user and time namespaces here";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace ckpt::assumptions
