#include "executor.h"

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

namespace ckpt::restorer {
namespace {

using plan::Check;

constexpr std::size_t kMost = 8;

// As it lies in memory: operations follow the header.
struct Plan {
  plan::PlanHeader header{
      .magic = plan::kPlanMagic, .operation_count = 0, .executed = 0, .failed = 0, .reserved = {}};
  std::array<plan::Operation, kMost> operations{};

  void add(long number, Check check, std::int64_t expected, std::array<std::uint64_t, 6> arguments = {}) {
    plan::Operation& operation = operations.at(header.operation_count++);
    operation.number = static_cast<std::uint32_t>(number);
    operation.check = check;
    operation.expected = expected;
    std::copy(arguments.begin(), arguments.end(), operation.arguments);
  }
  void run() { execute(&header); }
};
static_assert(offsetof(Plan, operations) == sizeof(plan::PlanHeader));

class Executor : public testing::Test {
 protected:
  Executor() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  ~Executor() override {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }

  // An operation that leaves a trace: the letter goes into the pipe.
  void add_write(const char* letter, Check check = Check::kEqual, std::int64_t expected = 1) {
    plan_.add(SYS_write, check, expected,
              {static_cast<std::uint64_t>(ends_[1]), reinterpret_cast<std::uintptr_t>(letter), 1});
  }
  void add_failing(Check check, std::int64_t expected = 0) {
    plan_.add(SYS_close, check, expected, {~std::uint64_t{0}});
  }
  std::string written() {
    if (::write(ends_[1], ".", 1) != 1) return "no end mark";
    std::array<char, 64> text{};
    ssize_t size = ::read(ends_[0], text.data(), text.size());
    return {text.data(), static_cast<std::size_t>(size)};
  }

  std::array<int, 2> ends_{};
  Plan plan_;
};

TEST_F(Executor, RunsOperationsInOrder) {
  add_write("a");
  add_write("b");
  add_write("c");
  plan_.run();
  EXPECT_EQ(written(), "abc.");
  EXPECT_EQ(plan_.header.executed, 3U);
  EXPECT_EQ(plan_.header.failed, 0U);
}

TEST_F(Executor, RunsAnEmptyPlan) {
  plan_.run();
  EXPECT_EQ(plan_.header.executed, 0U);
  EXPECT_EQ(plan_.header.failed, 0U);
}

TEST_F(Executor, KeepsTheKernelsResults) {
  plan_.add(SYS_getpid, Check::kNotNegative, 0);
  add_failing(Check::kNone);
  plan_.run();
  EXPECT_EQ(plan_.operations[0].result, ::getpid());
  EXPECT_EQ(plan_.operations[1].result, -EBADF);
}

TEST_F(Executor, PassesSixArguments) {
  // An anonymous mapping needs all of them: a descriptor of -1 and an offset that is a multiple of the page
  // size.
  constexpr std::uint64_t kReadPrivateAnonymous[] = {1, 0x22};
  plan_.add(SYS_mmap, Check::kEqual, -EINVAL,
            {0, 4096, kReadPrivateAnonymous[0], kReadPrivateAnonymous[1], ~std::uint64_t{0}, 1});
  plan_.add(SYS_mmap, Check::kNotNegative, 0,
            {0, 4096, kReadPrivateAnonymous[0], kReadPrivateAnonymous[1], ~std::uint64_t{0}, 0});
  plan_.run();
  ASSERT_EQ(plan_.header.failed, 0U);
  ASSERT_EQ(plan_.header.executed, 2U);
  auto address = static_cast<std::uint64_t>(plan_.operations[1].result);
  EXPECT_EQ(::syscall(SYS_munmap, address, 4096), 0);
}

TEST_F(Executor, StopsAtTheFirstFailure) {
  add_write("a");
  add_failing(Check::kNotNegative);
  add_write("b");
  plan_.run();
  EXPECT_EQ(written(), "a.");
  EXPECT_EQ(plan_.header.executed, 2U);
  EXPECT_EQ(plan_.header.failed, 1U);
  EXPECT_EQ(plan_.operations[1].result, -EBADF);
  EXPECT_EQ(plan_.operations[2].result, 0);
}

TEST_F(Executor, ChecksForTheExactResult) {
  add_failing(Check::kEqual, -EBADF);
  add_write("a", Check::kEqual, 2);
  plan_.run();
  EXPECT_EQ(plan_.header.executed, 2U) << "an error that is expected is no failure";
  EXPECT_EQ(plan_.header.failed, 1U);
}

TEST_F(Executor, GoesOnAfterAnAttempt) {
  add_failing(Check::kNone);
  add_write("a");
  plan_.run();
  EXPECT_EQ(written(), "a.");
  EXPECT_EQ(plan_.header.failed, 0U);
}

TEST_F(Executor, TakesAnUnknownCheckForAFailure) {
  add_write("a", static_cast<Check>(77));
  add_write("b");
  plan_.run();
  EXPECT_EQ(written(), "a.");
  EXPECT_EQ(plan_.header.failed, 1U);
}

TEST_F(Executor, LeavesAPlanOfAnotherBuildAlone) {
  add_write("a");
  plan_.header.magic += 1;
  plan_.run();
  EXPECT_EQ(written(), ".");
  EXPECT_EQ(plan_.header.executed, 0U);
  EXPECT_EQ(plan_.header.failed, 0U);
}

}  // namespace
}  // namespace ckpt::restorer
