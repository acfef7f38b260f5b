#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

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

// Calls that take memory, each of another kind, as heap.h names them. They return what the call does.
struct Call {
  const char* name;
  long (*make)(std::byte* memory);
};

UniqueFd file_of_a_page() {
  UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), 4096), 0);
  return file;
}

const Call kCalls[] = {
    {"read", [](std::byte* memory) -> long { return ::pread(file_of_a_page().get(), memory, 4096, 0); }},
    {"write", [](std::byte* memory) -> long { return ::pwrite(file_of_a_page().get(), memory, 4096, 0); }},
    {"writev",
     [](std::byte* memory) -> long {
       iovec part{.iov_base = memory, .iov_len = 4096};
       return ::writev(file_of_a_page().get(), &part, 1);
     }},
    {"stat", [](std::byte* memory) -> long { return ::stat("/", reinterpret_cast<struct stat*>(memory)); }},
    {"open",
     [](std::byte* memory) -> long {
       return UniqueFd(::open(reinterpret_cast<char*>(memory), O_RDONLY)) ? 0 : -1;
     }},
    {"poll", [](std::byte* memory) -> long { return ::poll(reinterpret_cast<pollfd*>(memory), 1, 0); }},
    {"getrandom", [](std::byte* memory) -> long { return ::getrandom(memory, 4096, 0); }},
    {"send",
     [](std::byte* memory) -> long {
       std::array<int, 2> ends{};
       EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
       UniqueFd one(ends[0]);
       UniqueFd other(ends[1]);
       return ::send(one.get(), memory, 4096, 0);
     }},
    {"futex",
     [](std::byte* memory) -> long {
       return ::syscall(SYS_futex, memory, FUTEX_WAKE, 1, nullptr, nullptr, 0);
     }},
};

TEST_F(RangesTest, WhatSystemCallsNeedAPin) {
  auto heap = create();
  auto* memory = static_cast<std::byte*>(heap->allocate(4096, 4096));
  for (const Call& call : kCalls) {
    SCOPED_TRACE(call.name);
    std::memset(memory, 0, 4096);
    std::memcpy(memory, "/", 2);  // for those that take a path, or descriptors
    heap->cold(memory, 4096);     // not mapped
    long result = call.make(memory);
    if (heap->serves_system_calls()) {
      EXPECT_GE(result, 0) << std::strerror(errno);
    } else {
      EXPECT_EQ(result, -1);
      EXPECT_EQ(errno, EFAULT);
    }
    std::memcpy(memory, "/", 2);
    heap->cold(memory, 4096);
    Pin pin(*heap, memory, 4096, PinFor::kWriting);
    EXPECT_GE(call.make(memory), 0) << std::strerror(errno);
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

// A heap of 16 MiB of data, opened anew with 4 MiB in memory; `hot`, its first MiB, is there.
class HintsTest : public HeapFixture {
 protected:
  HintsTest() {
    auto heap = create(64 * kMiB, 4 * kMiB);
    auto* data = static_cast<char*>(heap->allocate(kBytes, 4096));
    heap->set_root("data", data);
    for (std::size_t i = 0; i < kBytes; i += 4096) data[i] = 1;
    heap->commit();
    heap.reset();
    heap_ = open(4 * kMiB);
    data_ = static_cast<char*>(heap_->root("data"));
    heap_->set_pattern(data_, kHot, AccessPattern::kRandom);
    touch(0, kHot);
  }

  void touch(std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < end; i += 4096) EXPECT_EQ(data_[i], 1);
  }
  // How many lines are read from the store for it.
  std::uint64_t misses(std::size_t begin, std::size_t end) const {
    std::uint64_t before = heap_->statistics().missing_faults;
    touch(begin, end);
    return heap_->statistics().missing_faults - before;
  }

  static constexpr std::size_t kBytes = 16 * kMiB;
  static constexpr std::size_t kHot = kMiB;
  std::unique_ptr<Heap> heap_;
  const char* data_ = nullptr;
};

TEST_F(HintsTest, WhatIsReadInOrderOnceDoesNotDisplaceTheRest) {
  heap_->set_pattern(data_ + kHot, kBytes - kHot, AccessPattern::kSequential);
  std::uint64_t faults = misses(kHot, kBytes);
  EXPECT_LT(faults, (kBytes - kHot) / 4096 / 8);  // read ahead
  EXPECT_LT(misses(0, kHot), kHot / 4096 / 8);
  EXPECT_LE(heap_->statistics().resident_bytes, 4 * kMiB);
}

TEST_F(HintsTest, WhatIsReadAheadInOrderGoesBeforeWhatIsUsed) {
  constexpr std::size_t kAhead = 2 * kMiB;
  heap_->set_pattern(data_ + kHot, kAhead, AccessPattern::kSequential);
  heap_->set_pattern(data_ + 8 * kMiB, kBytes - 8 * kMiB, AccessPattern::kRandom);
  heap_->will_need(data_ + kHot, kAhead);
  while (heap_->statistics().resident_bytes < kHot + kAhead)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  touch(8 * kMiB, 9 * kMiB + kMiB / 4);
  EXPECT_EQ(misses(0, kHot), 0U);
}

TEST_F(HintsTest, AtRandomNothingIsReadAhead) {
  heap_->set_pattern(data_, kBytes, AccessPattern::kRandom);
  std::uint64_t before = heap_->statistics().read_ahead_lines;
  EXPECT_EQ(misses(kHot, 2 * kMiB), (2 * kMiB - kHot) / 4096);
  EXPECT_EQ(heap_->statistics().read_ahead_lines, before);
  heap_->set_pattern(data_, kBytes, AccessPattern::kNormal);
  touch(2 * kMiB, 3 * kMiB);
  EXPECT_GT(heap_->statistics().read_ahead_lines, before);
}

TEST_F(HintsTest, WhatIsColdGoesFirst) {
  touch(kHot, kHot + kMiB);
  heap_->cold(data_ + kHot, kMiB);  // newer than `hot`
  heap_->set_pattern(data_ + 4 * kMiB, 4 * kMiB, AccessPattern::kRandom);
  touch(4 * kMiB, 6 * kMiB);
  EXPECT_GT(heap_->statistics().evictions, 0U);
  EXPECT_EQ(misses(0, kHot), 0U);
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
