#include "engine/restore/fill_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/remote_addr.h"
#include "restore/checkpoint_support.h"

namespace ckpt::engine {
namespace {

using image::MappingKind;
using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;

auto run_of(std::uint64_t first_page, std::uint64_t page_count) {
  return testing::AllOf(Field(&store::PageRun::first_page, first_page),
                        Field(&store::PageRun::page_count, page_count));
}

class FillPlanTest : public testing::Test {
 protected:
  FillPlanTest() : checkpoint_(empty_checkpoint()) {}

  image::MappingT& add(MappingKind kind, std::uint64_t first_page, std::uint64_t page_count) {
    return add_mapping(checkpoint_, kind, first_page * kPageSize, (first_page + page_count) * kPageSize,
                       PROT_READ | PROT_WRITE);
  }
  FillPlan plan(const std::vector<store::PageRun>& runs, FillTime time = FillTime::kLater) {
    return plan_fill(*checkpoint_.process, runs, time);
  }

  image::CheckpointT checkpoint_;
};

TEST_F(FillPlanTest, PlainMemoryComesLater) {
  add(MappingKind::Anonymous, 100, 50);
  add(MappingKind::Anonymous, 200, 50);
  FillPlan filled = plan({{110, 5}, {120, 1}});
  EXPECT_THAT(filled.now, IsEmpty());
  EXPECT_THAT(filled.later.from_source(0, 1000),
              ElementsAre(MissingPiece{110, 110, 5}, MissingPiece{120, 120, 1}));
  ASSERT_EQ(filled.watched.size(), 1U) << "memory without content needs no watching";
  EXPECT_EQ(filled.watched[0].start, 100 * kPageSize);
  EXPECT_EQ(filled.watched[0].end, 150 * kPageSize);
}

TEST_F(FillPlanTest, ARunMayReachOverSeveralMappings) {
  add(MappingKind::Anonymous, 100, 10);
  add(MappingKind::PrivateFile, 110, 10);
  add(MappingKind::Anonymous, 120, 10);
  FillPlan filled = plan({{105, 20}});
  EXPECT_THAT(filled.now, ElementsAre(run_of(110, 10)));
  EXPECT_THAT(filled.later.from_source(0, 1000),
              ElementsAre(MissingPiece{105, 105, 5}, MissingPiece{120, 120, 5}));
}

TEST_F(FillPlanTest, MemoryThatCannotWaitComesNow) {
  add(MappingKind::PrivateFile, 100, 10);
  add(MappingKind::Anonymous, 110, 10).locked = true;
  add(MappingKind::Anonymous, 120, 10).advice = {MADV_DONTFORK, MADV_WIPEONFORK};
  add(MappingKind::Anonymous, 130, 10).grows_down = true;
  FillPlan filled = plan({{101, 1}, {111, 1}, {121, 1}, {131, 1}});
  EXPECT_THAT(filled.now, ElementsAre(run_of(101, 1), run_of(111, 1), run_of(121, 1), run_of(131, 1)));
  EXPECT_TRUE(filled.later.empty());
  EXPECT_THAT(filled.watched, IsEmpty());
}

TEST_F(FillPlanTest, ACopyLacksMemoryThatForkWipes) {
  add(MappingKind::Anonymous, 100, 10);
  add(MappingKind::Anonymous, 110, 10).advice = {MADV_WIPEONFORK};
  add(MappingKind::Anonymous, 120, 10);
  add(MappingKind::Anonymous, 130, 10).advice = {MADV_WIPEONFORK};
  EXPECT_THAT(without_wiped(*checkpoint_.process, {{105, 20}, {128, 1}, {131, 2}, {139, 3}}),
              ElementsAre(run_of(105, 5), run_of(120, 5), run_of(128, 1), run_of(140, 2)));
}

TEST_F(FillPlanTest, ArgumentsAndEnvironmentComeNow) {
  add(MappingKind::Anonymous, 100, 10);
  add(MappingKind::Anonymous, 120, 10);
  checkpoint_.process->layout->arg_start = 105 * kPageSize;
  checkpoint_.process->layout->arg_end = 105 * kPageSize + 10;
  checkpoint_.process->layout->env_start = 129 * kPageSize;
  checkpoint_.process->layout->env_end = 129 * kPageSize + 10;
  EXPECT_TRUE(plan({{100, 10}, {120, 10}}).later.empty());
}

TEST_F(FillPlanTest, MemoryThatMayHaveHugePagesIsFilledThePlainWayBeforeTheProgramRuns) {
  add(MappingKind::Anonymous, 100, 10).advice = {MADV_HUGEPAGE};
  EXPECT_TRUE(plan({{101, 1}}, FillTime::kNow).later.empty());
  EXPECT_EQ(plan({{101, 1}}, FillTime::kLater).later.page_count(), 1U);
}

TEST_F(FillPlanTest, EveryPageIsFilledOnce) {
  add(MappingKind::Anonymous, 100, 10);
  FillPlan filled = plan({{90, 40}});
  EXPECT_EQ(filled.later.page_count(), 10U);
  EXPECT_THAT(filled.now, ElementsAre(run_of(90, 10), run_of(110, 20)));
}

}  // namespace
}  // namespace ckpt::engine
