#include "launcher/run_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>

#include "temporary_directory.h"

namespace ckpt::launcher {
namespace {

// Exit status of `body`, run in a child: locks of one process do not exclude each other.
int in_child(const std::function<int()>& body) {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = -1;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(RunLock, ExcludesAnotherProcess) {
  TemporaryDirectory directory;
  std::optional<RunLock> lock = RunLock::try_acquire(directory.descriptor());
  ASSERT_TRUE(lock.has_value());
  EXPECT_EQ(in_child([&] { return RunLock::try_acquire(directory.descriptor()) ? 1 : 0; }), 0);
  EXPECT_EQ(in_child([&] { return RunLock::holder(directory.descriptor()) == ::getppid() ? 0 : 1; }), 0);
}

TEST(RunLock, IsFreeAfterItsOwnerLetItGo) {
  TemporaryDirectory directory;
  { ASSERT_TRUE(RunLock::try_acquire(directory.descriptor()).has_value()); }
  EXPECT_FALSE(RunLock::holder(directory.descriptor()).has_value());
}

// A child forked while the lock is held must not keep it alive.
TEST(RunLock, IsNotInheritedByChildren) {
  TemporaryDirectory directory;
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  pid_t owner = ::fork();
  if (owner == 0) {
    std::optional<RunLock> lock = RunLock::try_acquire(directory.descriptor());
    pid_t survivor = ::fork();
    if (survivor == 0) {
      for (;;) ::pause();
    }
    [[maybe_unused]] ssize_t put = ::write(ready[1], &survivor, sizeof survivor);
    for (;;) ::pause();
  }
  pid_t survivor = 0;
  ASSERT_EQ(::read(ready[0], &survivor, sizeof survivor), static_cast<ssize_t>(sizeof survivor));
  EXPECT_EQ(RunLock::holder(directory.descriptor()), owner);
  ::kill(owner, SIGKILL);
  EXPECT_TRUE(RunLock::try_acquire(directory.descriptor()).has_value());  // waits for the dying owner
  ::kill(survivor, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace ckpt::launcher
