#include "base/thread_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <latch>
#include <thread>
#include <vector>

#include "base/error.h"

namespace ckpt {
namespace {

class SleepingThreads {
 public:
  explicit SleepingThreads(int count) : started_(count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] {
        started_.count_down();
        end_.wait();
      });
    }
    started_.wait();
  }
  ~SleepingThreads() {
    end_.count_down();
    for (std::thread& thread : threads_) thread.join();
  }
  SleepingThreads(const SleepingThreads&) = delete;
  SleepingThreads& operator=(const SleepingThreads&) = delete;

 private:
  std::latch started_;
  std::latch end_{1};
  std::vector<std::thread> threads_;
};

TEST(ThreadList, CountsWhatItLists) {
  ThreadList list(::getpid());
  EXPECT_THAT(list.ids(), testing::Contains(::getpid()));
  std::size_t before = list.ids().size();
  EXPECT_EQ(list.count(), before);
  SleepingThreads more(5);
  EXPECT_EQ(list.ids().size(), before + 5);
  EXPECT_EQ(list.count(), before + 5);
  EXPECT_EQ(list_threads(::getpid()), list.ids());
}

TEST(ThreadList, OfAProcessThatEndsBecomesEmpty) {
  pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  ThreadList list(child);
  EXPECT_THAT(list.ids(), testing::ElementsAre(child));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(list.ids().empty());
  EXPECT_TRUE(list_threads(child).empty());
  try {
    ThreadList gone(child);
    FAIL() << "listed a process that is gone";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ENOENT);
  }
}

}  // namespace
}  // namespace ckpt
