#include "engine/restore/seen_ids.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>

#include "agent/id_calls.h"
#include "agent/id_table.h"

namespace ckpt::engine {
namespace {

using agent::kernel_id;
using agent::kIdStep;
using agent::seen_id;

// A process with an agent: ours, with a table in its memory.
class SeenIds : public ::testing::Test {
 protected:
  SeenIds() : table_(std::make_unique<agent::AgentTable>()) {
    table_->self = reinterpret_cast<std::uint64_t>(table_.get());
    table_->ids.in_use = reinterpret_cast<std::uint64_t>(&word_);
  }

  std::vector<std::string> keep(const IdMap& ids) {
    std::vector<RenumberedProcess> processes;
    processes.push_back({.name = "self", .tables = {::getpid(), {table_->self}, {}}});
    return keep_seen_ids(processes, ids);
  }

  const agent::IdTable& ids() const { return table_->ids; }

  std::unique_ptr<agent::AgentTable> table_;
  std::uint32_t word_ = 0;
};

TEST_F(SeenIds, AreThoseOfTheCheckpoint) {
  EXPECT_TRUE(keep({{100, 200}, {101, 100}, {102, 102}}).empty());
  EXPECT_EQ(word_, 1U);
  EXPECT_EQ(kernel_id(ids(), 100), 200);
  EXPECT_EQ(kernel_id(ids(), 101), 100);
  EXPECT_EQ(seen_id(ids(), 200), 100);
  EXPECT_EQ(seen_id(ids(), 100), 101);
  for (std::int32_t same : {0, -1, 1, 102, 300, 99999999}) {
    EXPECT_EQ(kernel_id(ids(), same), same);
    EXPECT_EQ(seen_id(ids(), same), same);
  }
}

TEST_F(SeenIds, StayTheSameOverGenerations) {
  keep({{100, 200}, {101, 201}});
  keep({{200, 300}, {201, 100}, {205, 301}});
  EXPECT_EQ(word_, 2U);
  EXPECT_EQ(kernel_id(ids(), 100), 300);
  EXPECT_EQ(kernel_id(ids(), 101), 100);
  EXPECT_EQ(seen_id(ids(), 301), 205);
  // They have come back to where they began.
  keep({{300, 100}, {100, 101}, {301, 205}});
  EXPECT_EQ(ids().count, 0U);
  EXPECT_EQ(kernel_id(ids(), 100), 100);
}

TEST_F(SeenIds, OfNewbornsAreNobodyElses) {
  keep({{100, 200}});
  std::int32_t born = seen_id(ids(), 100);
  EXPECT_EQ(born, 100 + kIdStep);
  EXPECT_EQ(kernel_id(ids(), born), 100);
  // It keeps that, and another one is born with the same.
  keep({{200, 300}, {100, 301}});
  EXPECT_EQ(kernel_id(ids(), born), 301);
  std::int32_t second = seen_id(ids(), 100);
  EXPECT_EQ(second, 100 + 2 * kIdStep);
  EXPECT_EQ(kernel_id(ids(), second), 100);
  EXPECT_EQ(seen_id(ids(), 300), 100);
}

TEST_F(SeenIds, AreNotThereWithoutAnAgentOrBeyondTheRoom) {
  table_->ids.in_use = 0;
  EXPECT_EQ(keep({{100, 200}}), std::vector<std::string>{"self"});
  EXPECT_EQ(word_, 0U);
  table_->ids.in_use = reinterpret_cast<std::uint64_t>(&word_);
  IdMap many;
  for (std::int32_t id = 1; id <= static_cast<std::int32_t>(agent::kMostIds) + 1; ++id) many[id] = id + 10000;
  EXPECT_EQ(keep(many), std::vector<std::string>{"self"});
  EXPECT_EQ(kernel_id(ids(), 1), 1);
}

TEST(IdCalls, ChangeWhatIsAnId) {
  auto change = [](std::int32_t id) { return id > 0 ? id + 1000 : id; };
  using agent::IdArgument;
  EXPECT_EQ(agent::change_id(IdArgument::kTarget, 0, -5, change), -1005);
  EXPECT_EQ(agent::change_id(IdArgument::kTarget, 0, -1, change), -1);
  EXPECT_EQ(agent::change_id(IdArgument::kOfPriority, 2, 5, change), 5);
  EXPECT_EQ(agent::change_id(IdArgument::kOfPriority, 0, 5, change), 1005);
  EXPECT_EQ(agent::change_id(IdArgument::kOfWaitOrInOut, 0, 5, change), 5);
  EXPECT_EQ(agent::change_id(IdArgument::kOfWaitOrInOut, 2, 5, change), 1005);
  EXPECT_EQ(agent::find_id_call(SYS_read), nullptr);
}

}  // namespace
}  // namespace ckpt::engine
