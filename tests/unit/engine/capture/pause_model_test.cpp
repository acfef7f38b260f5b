#include "engine/capture/pause_model.h"

#include <gtest/gtest.h>

namespace ckpt::engine {
namespace {

using std::chrono::milliseconds;

TEST(PauseModel, LargerBudgetsHoldMore) {
  PauseModel model;
  EXPECT_LT(model.bytes_within(milliseconds(2)), model.bytes_within(milliseconds(10)));
  EXPECT_LT(model.bytes_within(milliseconds(10)), model.bytes_within(milliseconds(100)));
}

TEST(PauseModel, SomethingAlwaysFits) {
  PauseModel model;
  for (int i = 0; i < 50; ++i) model.learn(milliseconds(500), milliseconds(400), 1 << 20);
  EXPECT_GT(model.bytes_within(milliseconds(1)), 0U);
}

TEST(PauseModel, LearnsFromThePausesBefore) {
  PauseModel slow;
  PauseModel fast;
  for (int i = 0; i < 50; ++i) {
    slow.learn(milliseconds(21), milliseconds(20), 4 << 20);
    fast.learn(milliseconds(2), milliseconds(1), 16 << 20);
  }
  EXPECT_LT(slow.bytes_within(milliseconds(10)) * 4, fast.bytes_within(milliseconds(10)));
}

TEST(PauseModel, SmallCopiesSayNothingAboutTheSpeed) {
  PauseModel model;
  std::uint64_t before = model.bytes_within(milliseconds(20));
  for (int i = 0; i < 50; ++i) model.learn(milliseconds(2), milliseconds(1), 4096);
  EXPECT_EQ(model.bytes_within(milliseconds(20)), before);
}

TEST(PauseModel, ASnapshotPaysWhereMuchIsToBeCopiedAndLittleIsShared) {
  PauseModel model;
  EXPECT_LT(model.snapshot_time(1 << 30), model.copy_time(1 << 30));
  EXPECT_GT(model.snapshot_time(std::uint64_t{4} << 30), model.copy_time(16 << 20));
}

TEST(PauseModel, LearnsWhatSnapshotsTake) {
  PauseModel model;
  for (int i = 0; i < 50; ++i) model.learn_snapshot(milliseconds(100), 1 << 30);
  EXPECT_GT(model.snapshot_time(1 << 30), milliseconds(95));
  EXPECT_LT(model.snapshot_time(1 << 30), milliseconds(105));
}

}  // namespace
}  // namespace ckpt::engine
