// Stopped threads make system calls, many at once, and go on as if they had not.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/tracee/call_area.h"
#include "engine/tracee/remote_queries.h"
#include "engine/tracee/tracee.h"
#include "process/traced_child_support.h"

namespace ckpt::engine {
namespace {

// <linux/prctl.h> since Linux 6.3.
constexpr int kPrSetMdwe = 65;
constexpr unsigned long kRefuseExecGain = 1;

constexpr int kThreads = 8;

void start_threads() {
  std::atomic<int> ready = 0;
  for (int i = 0; i < kThreads; ++i) {
    std::thread([&ready] {
      ++ready;
      for (;;) ::pause();
    }).detach();
  }
  while (ready != kThreads) ::sched_yield();
}

RemoteCall call(long number, std::uint64_t first = 0, std::uint64_t second = 0) {
  return {.number = number, .arguments = {first, second}, .result = 0};
}

// Each thread tells its id, and fails at something.
void expect_own_results(Tracee& tracee) {
  std::vector<std::vector<RemoteCall>> calls;
  std::vector<ThreadCalls> batch;
  calls.reserve(tracee.threads().size());
  for (StoppedThread& thread : tracee.threads()) {
    calls.push_back({call(SYS_gettid), call(SYS_close, 1 << 20), call(SYS_gettid)});
    batch.push_back({.thread = &thread, .calls = calls.back()});
  }
  tracee.remote_syscalls(batch);
  for (const ThreadCalls& thread : batch) {
    EXPECT_EQ(thread.calls[0].result, thread.thread->tid);
    EXPECT_EQ(thread.calls[1].result, -EBADF);
    EXPECT_EQ(thread.calls[2].result, thread.thread->tid);
  }
}

TEST(RemoteCalls, OfManyThreadsAreMadeSideBySide) {
  ChildProgram child(start_threads);
  for (int round = 0; round < 3; ++round) {
    Tracee tracee(child.pid());
    ASSERT_EQ(tracee.threads().size(), kThreads + 1U);
    expect_own_results(tracee);
    EXPECT_EQ(tracee.remote_syscall(SYS_getpid, {}), child.pid());
    expect_own_results(tracee);
  }
}

TEST(RemoteCalls, WorkWhereNoMemoryMayBeWrittenAndExecuted) {
  ChildProgram child([] {
    if (::prctl(kPrSetMdwe, kRefuseExecGain, 0, 0, 0) != 0) throw Error("this kernel has no PR_SET_MDWE");
    start_threads();
  });
  Tracee tracee(child.pid());
  expect_own_results(tracee);
}

TEST(RemoteCalls, MayBeMoreThanFitAtOnce) {
  ChildProgram child([] {});
  Tracee tracee(child.pid());
  std::vector<RemoteCall> calls(2 * CallArea::kMostCalls + 1, call(SYS_getpid));
  ThreadCalls batch{.thread = &tracee.main_thread(), .calls = calls};
  tracee.remote_syscalls(std::span(&batch, 1));
  for (const RemoteCall& made : calls) ASSERT_EQ(made.result, child.pid());
}

TEST(RemoteCalls, LeaveNothingBehind) {
  ChildProgram child(start_threads);
  std::string maps = read_file(fmt::format("/proc/{}/maps", child.pid()));
  {
    Tracee tracee(child.pid());
    expect_own_results(tracee);
    EXPECT_NE(read_file(fmt::format("/proc/{}/maps", child.pid())), maps);
  }
  EXPECT_EQ(read_file(fmt::format("/proc/{}/maps", child.pid())), maps);
}

// SIGSTOP cannot be kept away while a thread runs calls.
TEST(RemoteCalls, AStopSignalThatComesMeanwhileIsNotLost) {
  ChildProgram child(start_threads);
  for (bool at_once : {true, false}) {
    {
      Tracee tracee(child.pid());
      auto self = static_cast<std::uint64_t>(child.pid());
      if (at_once) {
        std::vector<RemoteCall> calls{call(SYS_kill, self, SIGSTOP), call(SYS_getpid)};
        ThreadCalls batch{.thread = &tracee.main_thread(), .calls = calls};
        tracee.remote_syscalls(std::span(&batch, 1));
        EXPECT_EQ(calls[1].result, child.pid());
      } else {
        EXPECT_EQ(tracee.remote_syscall(SYS_kill, {self, SIGSTOP}), 0);
        EXPECT_EQ(tracee.remote_syscall(SYS_getpid, {}), child.pid());
      }
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child.pid(), &status, WUNTRACED), child.pid());
    EXPECT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) << status;
    ::kill(child.pid(), SIGCONT);
  }
}

TEST(RemoteQueries, GiveEachThreadItsOwnAnswers) {
  ChildProgram child(start_threads);
  Tracee tracee(child.pid());
  std::vector<RemoteQueries> queries;
  std::vector<std::pair<std::int64_t, std::string>> found(tracee.threads().size());
  for (StoppedThread& thread : tracee.threads()) {
    std::size_t index = queries.size();
    RemoteQueries& query = queries.emplace_back(thread);
    query.expect("tell its id", SYS_gettid, {},
                 [&found, index](std::int64_t id) { found[index].first = id; });
    query.fetch<std::array<char, 16>>(
        "tell its name", SYS_prctl, {PR_GET_NAME, kAnswer, 0, 0, 0},
        [&found, index](const std::array<char, 16>& name) { found[index].second = name.data(); });
  }
  RemoteQueries::run(tracee, queries);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].first, tracee.threads()[i].tid);
    EXPECT_FALSE(found[i].second.empty());
  }
}

TEST(RemoteQueries, NameWhatFails) {
  ChildProgram child([] {});
  Tracee tracee(child.pid());
  RemoteQueries queries(tracee.main_thread());
  queries.expect("close what is not open", SYS_close, {1 << 20}, [](std::int64_t) { FAIL(); });
  try {
    queries.run(tracee);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), EBADF);
    EXPECT_NE(std::string(error.what()).find("close what is not open"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace ckpt::engine
