// Real-time signals queued while a program is stopped again and again all arrive.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <new>

#include "supervised_child_support.h"

namespace ckpt::engine {
namespace {

constexpr int kSignals = 20'000;

struct Shared {
  std::atomic<int> handled{0};
  std::atomic<bool> ready{false};
  std::atomic<bool> all_sent{false};
};

Shared* shared = nullptr;

void count(int /*signal*/) { ++shared->handled; }

TEST(QueuedSignals, NoneIsLostAcrossStops) {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  shared = new (memory) Shared;
  {
    ChildInCall program([] {
      struct sigaction action {};
      action.sa_handler = count;
      ::sigaction(SIGRTMIN, &action, nullptr);
      shared->ready = true;
      while (shared->handled < kSignals) ::getppid();
      return 0L;
    });
    while (!shared->ready) ::sched_yield();
    ChildInCall sender([target = program.pid()] {
      sigval value{};
      for (int i = 0; i < kSignals; ++i) {
        while (::sigqueue(target, SIGRTMIN, value) != 0 && errno == EAGAIN) ::sched_yield();
        // Bursts, so that stops meet both an empty and a full queue.
        if (i % 50 == 0) ::usleep(300);
      }
      shared->all_sent = true;
      return 0L;
    });
    InterruptedCalls calls;
    int stops = 0;
    for (; !shared->all_sent; ++stops) stop_once(calls, program.pid());
    EXPECT_GT(stops, 0);
    auto outcome = program.outcome(std::chrono::steady_clock::now() + std::chrono::seconds(30));
    EXPECT_TRUE(outcome) << kSignals - shared->handled << " signals were lost in " << stops << " stops";
  }
  ::munmap(memory, sizeof(Shared));
}

}  // namespace
}  // namespace ckpt::engine
