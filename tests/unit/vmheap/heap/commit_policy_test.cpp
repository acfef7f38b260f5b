// When a heap is committed by a policy.
#include "vmheap/commit_policy.h"

#include <thread>

#include "heap_fixture.h"
#include "store/system_calls.h"
#include "support/failing_calls.h"

namespace ckpt::vmheap {
namespace {

using std::chrono::milliseconds;

class CommitPolicyTest : public HeapFixture {
 protected:
  CommitPolicyTest() : heap_(create()), numbers_(numbers(*heap_, "numbers", kPages * 512)) { settle(); }
  ~CommitPolicyTest() override { store::system_calls() = original_; }

  // Not one after the other: what is read ahead for writing counts as changed.
  void change(std::size_t pages) {
    for (std::size_t i = 0; i < pages; ++i) ++numbers_[i * 2741 % kPages * 512];
    std::this_thread::sleep_for(milliseconds(2));  // between two looks
  }

  // Until nothing has changed since the last commit.
  void settle() {
    do {
      heap_->commit();
      std::this_thread::sleep_for(milliseconds(5));
    } while (heap_->statistics().uncommitted_bytes != 0);
  }

  static constexpr std::size_t kPages = 8192;

  store::SystemCalls original_ = store::system_calls();
  std::unique_ptr<Heap> heap_;
  std::uint64_t* numbers_;
};

TEST_F(CommitPolicyTest, WithoutRulesNothingIsCommitted) {
  CommitPolicy policy(*heap_, {});
  change(100);
  EXPECT_FALSE(policy.safe_point());
  EXPECT_FALSE(policy.collected());
  EXPECT_FALSE(policy.idle());
}

TEST_F(CommitPolicyTest, SoMuchHasChanged) {
  CommitPolicy policy(*heap_, {.dirty_bytes = 64ULL * 4096});
  change(10);
  EXPECT_FALSE(policy.safe_point());
  change(100);
  EXPECT_TRUE(policy.safe_point());
  std::uint64_t version = heap_->wait_for_commit();
  EXPECT_EQ(heap_->statistics().version, version);
}

// More than the resident limit: most of it has been stored already, and counts all the same.
TEST_F(CommitPolicyTest, WhatWasStoredEarlyCounts) {
  heap_->set_resident_limit(kMiB / 4);
  CommitPolicy policy(*heap_, {.dirty_bytes = kMiB});
  change(300);
  EXPECT_TRUE(policy.safe_point());
  heap_->wait_for_commit();
}

TEST_F(CommitPolicyTest, TimeHasPassed) {
  CommitPolicy policy(*heap_, {.elapsed = milliseconds(20)});
  change(1);
  while (!policy.safe_point()) std::this_thread::sleep_for(milliseconds(1));
  heap_->wait_for_commit();
  settle();
  std::this_thread::sleep_for(milliseconds(25));
  EXPECT_FALSE(policy.safe_point());  // nothing has changed
}

TEST_F(CommitPolicyTest, AfterACollectionAndWhenIdle) {
  CommitPolicy policy(*heap_, {.after_collection = true, .when_idle = true});
  change(1);
  EXPECT_FALSE(policy.safe_point());
  EXPECT_TRUE(policy.collected());
  heap_->wait_for_commit();
  settle();
  EXPECT_FALSE(policy.idle());
  change(1);
  EXPECT_TRUE(policy.idle());
  heap_->wait_for_commit();
}

TEST_F(CommitPolicyTest, AFailureIsThrownByTheNextCall) {
  CommitPolicy policy(*heap_, {.when_idle = true});
  change(1);
  store::system_calls().fdatasync = tests::failing_sync;
  store::system_calls().fsync = tests::failing_sync;
  EXPECT_TRUE(policy.idle());
  while (heap_->committing()) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_THROW(policy.idle(), Error);
  store::system_calls() = original_;
  EXPECT_TRUE(policy.idle());
  EXPECT_GT(heap_->wait_for_commit(), 0U);
}

}  // namespace
}  // namespace ckpt::vmheap
