// A process that cannot be stopped is given up soon, and sees nothing of it; what came to its stop later is
// let go.
#include "engine/tracee/stuck_threads.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <new>
#include <thread>

#include "base/error.h"
#include "base/proc_stat.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"
#include "support/child_with_parent.h"

namespace ckpt::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;

struct Progress {
  std::atomic<pid_t> other_thread;
  std::atomic<int> waited;  // what epoll_wait() gave, or -errno
  std::atomic<bool> came_back;
};

class Program {
 public:
  Program() {
    void* memory =
        ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || ::pipe(end_.data()) != 0) throw_errno("set up the test");
    shared_ = new (memory) Progress{};
    event_ = ::eventfd(0, 0);
    pid_ = tests::fork_child_that_ends_with_parent();
    if (pid_ == 0) live();
  }
  ~Program() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(end_[0]);
    ::close(end_[1]);
    ::close(event_);
    ::munmap(shared_, sizeof(Progress));
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  const Progress& shared() const { return *shared_; }
  bool is_in_both_calls() const {
    pid_t other = shared_->other_thread;
    return ProcStat(pid_).state() == 'D' && other != 0 && ProcStat(other).state() == 'S';
  }
  void end_vfork() const { EXPECT_EQ(::write(end_[1], "x", 1), 1); }
  void wake_other_thread() const {
    std::uint64_t one = 1;
    EXPECT_EQ(::write(event_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }

 private:
  [[noreturn]] void live() {
    std::thread other([this] {
      // Of the child's end a traced process is told although it ignores that, by a thread that can hear it.
      sigset_t all;
      ::sigfillset(&all);
      ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
      int epoll = ::epoll_create1(0);
      epoll_event event{.events = EPOLLIN, .data = {}};
      ::epoll_ctl(epoll, EPOLL_CTL_ADD, event_, &event);
      shared_->other_thread = static_cast<pid_t>(::syscall(SYS_gettid));
      int count = ::epoll_wait(epoll, &event, 1, -1);
      shared_->waited = count < 0 ? -errno : count;
    });
    char byte = 0;
    // A parent inside of it is the point; what the child calls needs nothing of libc.
    // NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork)
    pid_t child = ::vfork();
    if (child == 0) ::_exit(::read(end_[0], &byte, 1) == 1 ? 0 : 1);
    // NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork)
    shared_->came_back = true;
    for (;;) ::pause();
  }

  Progress* shared_;
  std::array<int, 2> end_{-1, -1};
  int event_ = -1;
  pid_t pid_ = -1;
};

template <typename Condition>
bool comes_true(const Condition& condition) {
  auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::sched_yield();
  }
  return true;
}

TEST(StuckThreads, ParentInVforkIsGivenUpAndGoesOnLater) {
  Program program;
  ASSERT_TRUE(comes_true([&] { return program.is_in_both_calls(); }));
  InterruptedCalls calls;
  calls.observe_before_stop(program.pid());
  auto put_right = [&](Tracee& tracee) { calls.fix_up(tracee); };
  auto stop = [&] {
    Tracee tracee(program.pid(), 50ms, {}, put_right);
    put_right(tracee);
  };
  EXPECT_THROW(stop(), Error);
  EXPECT_TRUE(has_stuck_threads(program.pid()));
  EXPECT_THROW(stop(), Error) << "it is stuck still";
  program.end_vfork();
  EXPECT_TRUE(comes_true([&] {
    let_stuck_threads_go();
    return !have_stuck_threads() && program.shared().came_back;
  }));
  EXPECT_NO_THROW(stop());
  program.wake_other_thread();
  EXPECT_TRUE(comes_true([&] { return program.shared().waited != 0; }));
  EXPECT_EQ(program.shared().waited, 1) << "a call of the other thread ended early";
}

}  // namespace
}  // namespace ckpt::engine
