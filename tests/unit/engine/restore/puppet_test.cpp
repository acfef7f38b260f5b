#include "engine/restore/puppet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/capture/memory_map.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/stops.h"
#include "process/traced_child_support.h"
#include "restore/checkpoint_support.h"

namespace ckpt::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

long entry_count_at(pid_t pid, std::uint64_t address) {
  return std::ranges::count(read_memory_map(pid), address, &MapEntry::start);
}

std::string name_of(pid_t pid) { return read_file("/proc/" + std::to_string(pid) + "/comm"); }

// A child of ours, stopped as start_new_process leaves one, with the executor in it.
class PuppetTest : public testing::Test {
 protected:
  PuppetTest() : child_(block_all_signals) {
    constexpr long kOptions =
        PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL;
    pid_t pid = child_.pid();
    if (::ptrace(PTRACE_SEIZE, pid, nullptr, kOptions) != 0) throw_errno("trace a child");
    if (::ptrace(PTRACE_INTERRUPT, pid, nullptr, 0) != 0) throw_errno("stop a child");
    if (!wait_for_stop(pid, pid, std::chrono::steady_clock::now() + std::chrono::seconds(60)))
      throw Error("the child did not stop");
    puppet_.emplace(pid);
    RestorerCode code = load_restorer();
    area_ = choose_work_area(empty_checkpoint(), read_memory_map(pid), code.bytes.size());
    puppet_->place_executor(area_, code);
  }

  // The leader's end is not told before those of its traced threads have been seen.
  ~PuppetTest() override {
    ::kill(pid(), SIGKILL);
    for (pid_t tid : puppet_->threads()) {
      if (tid != pid()) ::waitpid(tid, nullptr, __WALL);
    }
  }

  PlanBuilder new_plan() const { return {area_.plan, area_.plan_data_offset}; }
  pid_t pid() const { return child_.pid(); }

  Error failure_of(const PlanBuilder& plan) {
    try {
      puppet_->run(plan, pid());
    } catch (const Error& error) {
      return error;
    }
    return Error("nothing was thrown");
  }

  ChildProgram child_;
  std::optional<Puppet> puppet_;
  WorkArea area_;
};

TEST_F(PuppetTest, MakesSingleCalls) {
  EXPECT_EQ(puppet_->call(SYS_getpid, {}), pid());
  EXPECT_EQ(puppet_->call(SYS_getppid, {}), ::getpid());
  EXPECT_EQ(puppet_->call(SYS_close, {~0ULL}), -EBADF);
}

TEST_F(PuppetTest, ExecutesAPlanInTheProcess) {
  std::uint64_t place = (area_.end() + (1 << 16)).value;
  PlanBuilder plan = new_plan();
  plan.expect("who am I", SYS_getpid, {}, pid());
  plan.expect(
      "map", SYS_mmap,
      {place, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~0ULL, 0},
      static_cast<std::int64_t>(place));
  // uname into the new page: what a call writes is there afterwards.
  plan.expect("uname", SYS_uname, {place}, 0);
  plan.attempt("fails and does not matter", SYS_close, {~0ULL});
  puppet_->run(plan, pid());
  EXPECT_EQ(entry_count_at(pid(), place), 1);
  std::array<char, 5> system{};
  read_remote(pid(), RemoteAddr{place}, std::as_writable_bytes(std::span(system)));
  EXPECT_EQ(std::string(system.data(), 5), "Linux");
}

TEST_F(PuppetTest, IsForkedWithTheExecutorInIt) {
  Puppet fork = puppet_->fork(0, SIGCHLD, area_.plan);
  EXPECT_NE(fork.pid(), pid());
  EXPECT_EQ(puppet_->call(SYS_getpid, {}), pid());
  EXPECT_EQ(fork.call(SYS_getppid, {}), pid());
  PlanBuilder plan = new_plan();
  plan.expect("who am I", SYS_getpid, {}, fork.pid());
  plan.expect("name the thread", SYS_prctl, {PR_SET_NAME, plan.string("fork").value}, 0);
  fork.run(plan, fork.pid());
  EXPECT_EQ(name_of(fork.pid()), "fork\n");
  EXPECT_NE(name_of(pid()), "fork\n");
  ::kill(fork.pid(), SIGKILL);
  EXPECT_EQ(::waitpid(fork.pid(), nullptr, __WALL), fork.pid());
}

TEST_F(PuppetTest, SaysWhichForkCannotBeMade) {
  try {
    puppet_->fork(pid(), SIGCHLD, area_.plan);
    FAIL() << "there is a process with this id already";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("by fork"));
    EXPECT_TRUE(error.code() == EEXIST || error.code() == EPERM) << error.what();
  }
}

TEST_F(PuppetTest, PlansFindTheirData) {
  PlanBuilder plan = new_plan();
  plan.expect("name the thread", SYS_prctl, {PR_SET_NAME, plan.string("renamed").value}, 0);
  puppet_->run(plan, pid());
  EXPECT_EQ(name_of(pid()), "renamed\n");
}

TEST_F(PuppetTest, RunsOnePlanAfterAnother) {
  for (int i = 0; i < 3; ++i) {
    PlanBuilder plan = new_plan();
    plan.expect("who am I", SYS_getpid, {}, pid());
    puppet_->run(plan, pid());
  }
  puppet_->run(new_plan(), pid());  // empty
  EXPECT_EQ(puppet_->call(SYS_getpid, {}), pid());
}

TEST_F(PuppetTest, AFailureNamesOperationAndErrno) {
  PlanBuilder plan = new_plan();
  plan.expect("who am I", SYS_getpid, {}, pid());
  plan.expect("map nothing at all", SYS_mmap, {0, 0, 0, 0, 0, 0}, 0);
  plan.expect("never reached", SYS_getpid, {}, 0);
  Error error = failure_of(plan);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("map nothing at all"), HasSubstr("EINVAL")));
  EXPECT_EQ(error.code(), EINVAL);
}

TEST_F(PuppetTest, AnUnexpectedResultThatIsNoErrorIsTold) {
  PlanBuilder plan = new_plan();
  plan.expect("who am I", SYS_getppid, {}, -1);
  Error error = failure_of(plan);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("who am I"), HasSubstr("result 0x")));
  EXPECT_EQ(error.code(), 0);
}

TEST_F(PuppetTest, TheEndOfTheProcessIsAnError) {
  PlanBuilder plan = new_plan();
  plan.attempt("leave", SYS_exit_group, {7});
  EXPECT_EQ(failure_of(plan).code(), ESRCH);
}

TEST_F(PuppetTest, NewThreadsStopAtBirthAndExecutePlansThemselves) {
  clone_args arguments{};
  arguments.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  PlanBuilder making = new_plan();
  std::uint64_t address = making.data_of(arguments).value;
  making.expect_success("make thread", SYS_clone3, {address, sizeof(arguments)});
  making.expect_success("make thread", SYS_clone3, {address, sizeof(arguments)});
  puppet_->run(making, pid());
  ASSERT_EQ(puppet_->threads().size(), 3U);
  EXPECT_EQ(puppet_->threads()[0], pid());
  for (pid_t tid : puppet_->threads()) {
    PlanBuilder plan = new_plan();
    plan.expect("who am I", SYS_gettid, {}, tid);
    plan.expect("whose am I", SYS_getpid, {}, pid());
    puppet_->run(plan, tid);
  }
}

TEST_F(PuppetTest, AWorkAreaThatIsTakenIsAnError) {
  RestorerCode code = load_restorer();
  try {
    puppet_->place_executor(area_, code);
    FAIL() << "placed twice";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), EEXIST);
  }
}

}  // namespace
}  // namespace ckpt::engine
