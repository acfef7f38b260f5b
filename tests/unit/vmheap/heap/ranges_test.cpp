#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "heap_fixture.h"

namespace ckpt::vmheap {
namespace {

using RangesTest = HeapFixture;

// Something that is not in memory: committed, then evicted by a pass over other memory.
std::byte* evicted(Heap& heap) {
  auto* memory = static_cast<std::byte*>(heap.allocate(64 << 10, 4096));
  std::memset(memory, 'x', 64 << 10);
  heap.commit();
  auto* other = static_cast<char*>(heap.allocate(16 * kMiB));
  for (std::size_t i = 0; i < 16 * kMiB; i += 4096) other[i] = 1;
  return memory;
}

TEST_F(RangesTest, SystemCallsOnHeapMemoryWorkWhereThatIsSaid) {
  auto heap = create();
  std::byte* memory = evicted(*heap);
  UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  ssize_t written = ::write(file.get(), memory, 64 << 10);
  if (heap->serves_system_calls()) {
    EXPECT_EQ(written, 64 << 10);
    EXPECT_EQ(::pread(file.get(), memory + 4096, 8192, 0), 8192);
  } else {
    EXPECT_LT(written, 64 << 10);  // EFAULT, or a short count
  }
}

TEST_F(RangesTest, SystemCallsOnPinnedMemoryWorkForEverybody) {
  auto heap = create();
  std::byte* memory = evicted(*heap);
  UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  {
    Pin pin(*heap, memory, 64 << 10, PinFor::kReading);
    ASSERT_EQ(::write(file.get(), memory, 64 << 10), 64 << 10);
  }
  memory = evicted(*heap);
  std::memset(memory, 0, 64 << 10);
  heap->commit();
  {
    Pin pin(*heap, memory, 64 << 10, PinFor::kWriting);
    heap->commit_in_background();  // does not protect what the kernel may write to
    ASSERT_EQ(::pread(file.get(), memory, 64 << 10, 0), 64 << 10);
    heap->wait_for_commit();
  }
  heap->commit();
  heap->roll_back();
  EXPECT_EQ(memory[0], std::byte{'x'});
  EXPECT_EQ(memory[(64 << 10) - 1], std::byte{'x'});
}

TEST_F(RangesTest, DiscardedLinesAreZeroesAlsoAfterACommit) {
  {
    auto heap = create();
    auto* memory = static_cast<char*>(heap->allocate(64 << 10, 4096));
    std::memset(memory, 'x', 64 << 10);
    heap->set_root("memory", memory);
    heap->commit();
    heap->discard(memory, 32 << 10);
    EXPECT_EQ(memory[100], 0);
    heap->roll_back();
    EXPECT_EQ(memory[100], 'x');
    heap->discard(memory, 32 << 10);
    memory[4096] = 'y';
    heap->commit();
  }
  auto heap = open();
  const auto* memory = static_cast<char*>(heap->root("memory"));
  EXPECT_EQ(memory[100], 0);
  EXPECT_EQ(memory[4096], 'y');
  EXPECT_EQ(memory[4097], 0);
  EXPECT_EQ(memory[32 << 10], 'x');
}

TEST_F(RangesTest, WhatIsDiscardedDuringACommitIsInItAndWhatWasBeforeIsNot) {
  auto heap = create();
  auto* memory = static_cast<char*>(heap->allocate(64 << 10, 4096));
  std::memset(memory, 'x', 64 << 10);
  heap->commit();
  heap->discard(memory, 4096);
  std::memset(memory + 8192, 'y', 4096);
  heap->commit_in_background();
  memory[0] = 'z';                     // of the next version
  heap->discard(memory + 8192, 4096);  // likewise
  heap->wait_for_commit();
  EXPECT_EQ(memory[8192], 0);
  heap->roll_back();
  EXPECT_EQ(memory[0], 0);
  EXPECT_EQ(memory[4096], 'x');
  EXPECT_EQ(memory[8192], 'y');
}

TEST_F(RangesTest, SystemAndNurseryRangesAreNotSaved) {
  {
    auto heap = create();
    auto* memory = static_cast<char*>(heap->allocate(kMiB, 4096));
    heap->set_root("memory", memory);
    heap->set_kind(memory, 64 << 10, RangeKind::kSystem);
    heap->set_kind(memory + (64 << 10), 128 << 10, RangeKind::kNursery);
    std::memset(memory, 'x', kMiB);
    heap->set_kind(memory + (64 << 10), 64 << 10, RangeKind::kNormal);  // promoted
    heap->commit();
    heap->roll_back();
    EXPECT_EQ(memory[0], 'x') << "never rolled back";
    EXPECT_EQ(memory[130 << 10], 'x');
  }
  auto heap = open();
  const auto* memory = static_cast<char*>(heap->root("memory"));
  EXPECT_EQ(memory[0], 0);
  EXPECT_EQ(memory[64 << 10], 'x');
  EXPECT_EQ(memory[(128 << 10) + 1], 0);
  EXPECT_EQ(memory[192 << 10], 'x');
}

TEST_F(RangesTest, HintsChangeNothing) {
  auto heap = create();
  std::byte* memory = evicted(*heap);
  heap->will_need(memory, 64 << 10);
  heap->cold(memory, 64 << 10);
  for (std::size_t i = 0; i < 64 << 10; ++i) ASSERT_EQ(memory[i], std::byte{'x'});
}

}  // namespace
}  // namespace ckpt::vmheap
