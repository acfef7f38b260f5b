#include "engine/restore/plan_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace ckpt::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr RemoteAddr kBase{0x10000000};
constexpr std::size_t kDataOffset = 0x1000;

TEST(PlanBuilder, KeepsOperationsAndLabelsInOrder) {
  PlanBuilder plan(kBase, kDataOffset);
  plan.expect("equal", SYS_munmap, {1, 2}, 0);
  plan.expect_success("success", SYS_clone3, {3});
  plan.attempt("attempt", SYS_madvise, {4, 5, 6});
  EXPECT_EQ(plan.operation_count(), 3U);
  EXPECT_THAT(plan.labels(), ElementsAre("equal", "success", "attempt"));
  EXPECT_EQ(plan.operations()[0].number, static_cast<std::uint32_t>(SYS_munmap));
  EXPECT_EQ(plan.operations()[0].check, plan::Check::kEqual);
  EXPECT_EQ(plan.operations()[1].check, plan::Check::kNotNegative);
  EXPECT_EQ(plan.operations()[2].check, plan::Check::kNone);
}

TEST(PlanBuilder, ArgumentsThatAreNotGivenAreZero) {
  PlanBuilder plan(kBase, kDataOffset);
  plan.expect("label", SYS_munmap, {11, 12}, -7);
  EXPECT_THAT(plan.operations()[0].arguments, ElementsAre(11, 12, 0, 0, 0, 0));
  EXPECT_EQ(plan.operations()[0].expected, -7);
}

TEST(PlanBuilder, DataGetsAlignedAddressesInTheDataArea) {
  PlanBuilder plan(kBase, kDataOffset);
  RemoteAddr text = plan.string("abc");
  RemoteAddr number = plan.data_of(std::uint32_t{0x01020304});
  EXPECT_EQ(plan.data_base(), kBase + kDataOffset);
  EXPECT_EQ(text, plan.data_base());
  EXPECT_EQ(number, plan.data_base() + 16);
  ASSERT_EQ(plan.data_bytes().size(), 20U);
  EXPECT_EQ(std::memcmp(plan.data_bytes().data(), "abc", 4), 0) << "text and its NUL";
  std::uint32_t back = 0;
  std::memcpy(&back, plan.data_bytes().data() + 16, sizeof(back));
  EXPECT_EQ(back, 0x01020304U);
}

TEST(PlanBuilder, BuildsHeaderAndOperations) {
  PlanBuilder plan(kBase, kDataOffset);
  plan.attempt("first", SYS_getpid, {});
  plan.expect("second", SYS_munmap, {1, 2}, 3);
  std::vector<std::byte> bytes = plan.build();
  ASSERT_EQ(bytes.size(), sizeof(plan::PlanHeader) + 2 * sizeof(plan::Operation));
  plan::PlanHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  EXPECT_EQ(header.magic, plan::kPlanMagic);
  EXPECT_EQ(header.operation_count, 2U);
  EXPECT_EQ(header.executed, 0U);
  EXPECT_EQ(header.failed, 0U);
  plan::Operation second{};
  std::memcpy(&second, bytes.data() + sizeof(header) + sizeof(second), sizeof(second));
  EXPECT_EQ(second.number, static_cast<std::uint32_t>(SYS_munmap));
  EXPECT_EQ(second.expected, 3);
}

TEST(PlanBuilder, OperationsThatReachIntoTheDataAreAnError) {
  constexpr std::size_t kRoomForTwo = sizeof(plan::PlanHeader) + 2 * sizeof(plan::Operation);
  PlanBuilder plan(kBase, kRoomForTwo);
  plan.attempt("first", SYS_getpid, {});
  plan.attempt("second", SYS_getpid, {});
  EXPECT_EQ(plan.build().size(), kRoomForTwo);
  plan.attempt("third", SYS_getpid, {});
  EXPECT_THROW(plan.build(), Error);
}

TEST(PlanBuilder, DumpsOneLineForEachOperation) {
  PlanBuilder plan(kBase, kDataOffset);
  plan.attempt("look who it is", SYS_getpid, {0xabc});
  plan.attempt("again", SYS_getpid, {});
  std::string text = plan.dump();
  EXPECT_THAT(text, HasSubstr("(0xabc, 0x0, 0x0, 0x0, 0x0, 0x0)  look who it is\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

}  // namespace
}  // namespace ckpt::engine
