#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "base/unique_fd.h"
#include "ckpt/keeper.h"
#include "heap_fixture.h"
#include "vmheap/tools.h"

namespace {
ckpt_keeper* the_keeper = nullptr;
}

// In place of that of libckpt, so that the test is who makes checkpoints.
extern "C" int ckpt_keep(ckpt_keeper* keeper) {
  the_keeper = keeper;
  keeper->application = "/store/app";
  return 0;
}

namespace ckpt::vmheap {
namespace {

class CheckpointKeeperTest : public HeapFixture {
 protected:
  // A checkpoint for which nobody stands still.
  static std::uint64_t make_checkpoint() {
    EXPECT_EQ(the_keeper->get_ready(nullptr), nullptr);
    EXPECT_EQ(the_keeper->settle(nullptr), nullptr);
    std::uint64_t version = the_keeper->kept[0].version;
    the_keeper->go_on(nullptr);
    return version;
  }
};

// Whether it ends in a moment.
template <typename Result>
bool ends_soon(std::future<Result>& future) {
  return future.wait_for(std::chrono::milliseconds(100)) == std::future_status::ready;
}

TEST_F(CheckpointKeeperTest, AHeapIsKeptFromItsOpeningToItsClosing) {
  auto heap = create();
  EXPECT_TRUE(std::string(the_keeper->kept[0].directory).ends_with("/app.heap/heap"));
  EXPECT_EQ(the_keeper->kept[0].ranges[0][0], reinterpret_cast<std::uint64_t>(heap->base()));
  // Two handlers, the cleaner, two that read ahead.
  while (std::ranges::count_if(the_keeper->threads, [](std::int32_t id) { return id != 0; }) != 5)
    std::this_thread::yield();
  heap.reset();
  EXPECT_EQ(the_keeper->kept[0].directory[0], '\0');
  EXPECT_EQ(*std::max_element(std::begin(the_keeper->threads), std::end(the_keeper->threads)), 0);
}

TEST_F(CheckpointKeeperTest, WhatIsStoredForACheckpointIsNotWhatTheProgramCommitted) {
  auto heap = create();
  std::uint64_t* number = numbers(*heap, "number", 1);
  *number = 1;
  std::uint64_t committed = heap->commit();
  *number = 2;
  std::uint64_t stored = make_checkpoint();
  EXPECT_GT(stored, committed);
  EXPECT_EQ(heap->statistics().version, committed);
  EXPECT_GT(heap->statistics().uncommitted_bytes, 0U);
  EXPECT_EQ(*number, 2U);
  heap.reset();
  EXPECT_EQ(*numbers(*open(), "number", 1), 1U);
  auto as_it_was = Heap::open(path(), {.version = stored, .read_only = true});
  EXPECT_EQ(*static_cast<std::uint64_t*>(as_it_was->root("number")), 2U);
}

TEST_F(CheckpointKeeperTest, ARollbackLeadsToWhatTheProgramCommitted) {
  auto heap = create();
  std::uint64_t* number = numbers(*heap, "number", 1);
  *number = 1;
  heap->commit();
  *number = 2;
  make_checkpoint();
  heap->roll_back();
  EXPECT_EQ(*number, 1U);
}

TEST_F(CheckpointKeeperTest, WhatIsCommittedAfterwardsContainsWhatWasStored) {
  auto heap = create();
  std::uint64_t* array = numbers(*heap, "array", kMiB);
  for (std::size_t i = 0; i < kMiB; i += 512) array[i] = i + 1;
  make_checkpoint();
  array[0] = 77;
  heap->commit();
  heap.reset();
  heap = open();
  array = numbers(*heap, "array", kMiB);
  EXPECT_EQ(array[0], 77U);
  for (std::size_t i = 512; i < kMiB; i += 512) ASSERT_EQ(array[i], i + 1);
}

// What changes between the commit and the instant is noted whatever the length of its line, and comes back.
TEST_F(CheckpointKeeperTest, LinesOfSeveralSizesAreNoted) {
  constexpr std::size_t kStride = 64UL * 4096;
  auto heap = create(64 * kMiB, 16 * kMiB);
  heap->set_line_bytes(heap->base() + 16 * kMiB, 16 * kMiB, 65536);
  std::uint64_t* array = numbers(*heap, "array", 4 * kMiB);
  for (std::size_t i = 0; i < 4 * kMiB; i += 4096) array[i] = i;
  std::vector<HeapRegion> regions = heap->regions();
  ASSERT_EQ(the_keeper->get_ready(nullptr), nullptr);
  for (std::size_t i = 0; i < 4 * kMiB; i += kStride) array[i] = i + 1;
  ASSERT_EQ(the_keeper->settle(nullptr), nullptr);
  std::uint64_t stored = the_keeper->kept[0].version;
  the_keeper->go_on(nullptr);
  EXPECT_EQ(heap->regions(), regions);
  array[kStride] = 7;
  heap->commit();
  heap->roll_back();
  for (std::size_t i = 0; i < 4 * kMiB; i += 4096)
    ASSERT_EQ(array[i], i == kStride ? 7 : i + (i % kStride == 0 ? 1 : 0));
  heap.reset();
  auto as_it_was = Heap::open(path(), {.version = stored, .read_only = true});
  EXPECT_EQ(as_it_was->regions(), regions);
}

TEST_F(CheckpointKeeperTest, NothingIsStoredTwice) {
  auto heap = create();
  numbers(*heap, "number", 1)[0] = 1;
  std::uint64_t stored = make_checkpoint();
  EXPECT_EQ(make_checkpoint(), stored);
}

TEST_F(CheckpointKeeperTest, WritersGoOnAsFarAsThereIsRoomToNoteWhatTheyWrite) {
  auto heap = create(64 * kMiB, 16 * kMiB);
  std::uint64_t* array = numbers(*heap, "array", 4 * kMiB);
  heap->commit();
  ASSERT_EQ(the_keeper->get_ready(nullptr), nullptr);
  array[0] = 1;
  std::atomic<std::size_t> written = 0;
  auto all = std::async(std::launch::async, [&] {
    for (std::size_t i = 512; i < 2 * kMiB; i += 512) array[written = i] = i;
    return true;
  });
  while (written < 512) std::this_thread::yield();
  EXPECT_FALSE(ends_soon(all));
  EXPECT_EQ(the_keeper->settle(nullptr), nullptr);
  the_keeper->go_on(nullptr);
  EXPECT_TRUE(all.get());
  for (std::size_t i = 512; i < 2 * kMiB; i += 512) ASSERT_EQ(array[i], i);
}

// A thread in a system call cannot be stopped before it has its line: whoever stops it would wait for ever.
TEST_F(CheckpointKeeperTest, SystemCallsGoOnWhereThereIsNoRoomForOthers) {
  auto heap = create(64 * kMiB, 16 * kMiB);
  if (!heap->serves_system_calls()) GTEST_SKIP() << "system calls cannot be given heap memory by this user";
  std::uint64_t* array = numbers(*heap, "array", 4 * kMiB);
  std::uint64_t* others = numbers(*heap, "others", kMiB);
  heap->commit();
  ASSERT_EQ(the_keeper->get_ready(nullptr), nullptr);
  auto all = std::async(std::launch::async, [&] {
    for (std::size_t i = 0; i < 2 * kMiB; i += 512) array[i] = i;
  });
  ASSERT_FALSE(ends_soon(all));
  UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  ASSERT_EQ(::pwrite(file.get(), "words", 6, 0), 6);
  auto call = std::async(std::launch::async, [&] { return ::pread(file.get(), others + 5000, 6, 0); });
  ASSERT_TRUE(ends_soon(call));
  EXPECT_EQ(the_keeper->settle(nullptr), nullptr);
  the_keeper->go_on(nullptr);
  EXPECT_EQ(call.get(), 6);
  all.get();
}

TEST_F(CheckpointKeeperTest, FunctionsOfHeapsWaitUntilItIsOver) {
  auto heap = create();
  ASSERT_EQ(the_keeper->get_ready(nullptr), nullptr);
  auto commit = std::async(std::launch::async, [&] { return heap->commit(); });
  EXPECT_FALSE(ends_soon(commit));
  heap->deallocate(heap->allocate(kMiB));  // not those that only allocate
  the_keeper->go_on(nullptr);
  EXPECT_GT(commit.get(), 0U);
}

TEST_F(CheckpointKeeperTest, VersionsForCheckpointsGoWithThoseAndNotForAge) {
  auto heap = create();
  std::uint64_t* number = numbers(*heap, "number", 1);
  std::vector<std::uint64_t> stored;
  for (std::uint64_t i = 0; i < 20; ++i) {
    *number = i;
    heap->commit();
    *number = i + 100;
    if (i % 5 == 0) stored.push_back(make_checkpoint());
  }
  heap.reset();
  auto left = [&] {
    std::vector<std::uint64_t> versions;
    for (const HeapVersion& version : summarize(path()).versions) {
      if (version.of_checkpoint) versions.push_back(version.version);
    }
    return versions;
  };
  EXPECT_EQ(left(), stored);
  EXPECT_EQ(summarize(path()).versions.size(), stored.size() + 3);
  retain_checkpoint_versions(path(), "heap", "/store/other", {});
  EXPECT_EQ(left(), stored);
  retain_checkpoint_versions(path(), "heap", "/store/app", {stored[1]});
  EXPECT_EQ(left(), std::vector{stored[1]});
  heap = open();
  retain_checkpoint_versions(path(), "heap", "/store/app", {});
  EXPECT_EQ(left(), std::vector{stored[1]});  // somebody may build on it
}

}  // namespace
}  // namespace ckpt::vmheap
