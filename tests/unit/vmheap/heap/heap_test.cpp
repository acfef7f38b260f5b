#include "vmheap/heap.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "heap_fixture.h"
#include "vmheap/tools.h"

namespace ckpt::vmheap {
namespace {

using HeapTest = HeapFixture;

TEST_F(HeapTest, KeepsWhatWasCommittedAtTheSameAddress) {
  std::uint64_t* first = nullptr;
  {
    auto heap = create();
    first = numbers(*heap, "numbers", 1000);
    for (std::uint64_t i = 0; i < 1000; ++i) first[i] = i * i;
    heap->commit();
    first[7] = 0;  // never committed
  }
  auto heap = open();
  auto* again = static_cast<std::uint64_t*>(heap->root("numbers"));
  ASSERT_EQ(again, first);
  for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(again[i], i * i);
}

TEST_F(HeapTest, HoldsManyTimesItsResidentLimit) {
  constexpr std::size_t kCount = 40 * kMiB / sizeof(std::uint64_t);
  {
    auto heap = create(64 * kMiB, 2 * kMiB);
    std::uint64_t* data = numbers(*heap, "data", kCount);
    for (std::uint64_t i = 0; i < kCount; ++i) data[i] = i ^ 0x5555;
    for (std::uint64_t i = 0; i < kCount; i += 777) ASSERT_EQ(data[i], i ^ 0x5555);  // before any commit
    EXPECT_LE(heap->statistics().resident_bytes, 2 * kMiB);
    heap->commit();
    EXPECT_GT(heap->statistics().early_stores, 0U);
  }
  auto heap = open(2 * kMiB);
  std::uint64_t* data = numbers(*heap, "data", kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(data[i], i ^ 0x5555);
  EXPECT_LE(heap->statistics().resident_bytes, 2 * kMiB);
  EXPECT_GT(heap->statistics().read_ahead_lines, 0U);
}

TEST_F(HeapTest, RollsBackToTheLastCommitAndToOlderOnes) {
  auto heap = create();
  std::uint64_t* data = numbers(*heap, "data", 1 << 20);
  data[0] = 1;
  data[1 << 19] = 10;
  std::uint64_t one = heap->commit();
  data[0] = 2;
  std::uint64_t two = heap->commit();
  data[0] = 3;
  for (std::size_t i = 1 << 18; i < 1 << 20; ++i) data[i] = 5;  // evicted and stored early, for nothing
  heap->roll_back();
  EXPECT_EQ(data[0], 2U);
  EXPECT_EQ(data[1 << 19], 10U);
  EXPECT_EQ(data[(1 << 20) - 1], 0U);
  heap->roll_back(one);
  EXPECT_EQ(data[0], 1U);
  data[0] = 4;
  std::uint64_t three = heap->commit();
  ASSERT_GT(three, two);
  EXPECT_EQ(heap->versions().back().parent, one);
}

TEST_F(HeapTest, CommitsInTheBackgroundWhileWritersGoOn) {
  auto heap = create(64 * kMiB, 8 * kMiB);
  constexpr std::size_t kCount = 2 * kMiB / sizeof(std::uint64_t);
  std::uint64_t* data = numbers(*heap, "data", kCount);
  for (std::uint64_t round = 1; round <= 10; ++round) {
    for (std::size_t i = 0; i < kCount; i += 64) data[i] = round;
    heap->commit_in_background();
    for (std::size_t i = 0; i < kCount; i += 64) data[i] = 1000 + round;
    heap->wait_for_commit();
    heap->roll_back();
    for (std::size_t i = 0; i < kCount; i += 64) ASSERT_EQ(data[i], round);
  }
}

// Whoever writes to a line that a commit has frozen stores it first, and may come late with that: while the
// commit puts the first of these lines, the last ones are written to.
TEST_F(HeapTest, ACommitWaitsForLinesThatWritersStore) {
  constexpr std::size_t kLines = 6;
  constexpr std::size_t kStep = kMiB / sizeof(std::uint64_t);
  auto heap = create(64 * kMiB, 32 * kMiB, kMiB);
  std::uint64_t* data = numbers(*heap, "data", kLines * kStep);
  for (std::uint64_t round = 1; round <= 30; ++round) {
    for (std::size_t line = 0; line < kLines; ++line) data[line * kStep] = round;
    heap->commit_in_background();
    for (std::size_t line = kLines; line-- > 0;) data[line * kStep] = 1000 + round;
    heap->wait_for_commit();
    heap->roll_back();
    for (std::size_t line = 0; line < kLines; ++line) ASSERT_EQ(data[line * kStep], round) << line;
  }
}

TEST_F(HeapTest, AfterACommitNobodyWaitsForTheOneBefore) {
  auto heap = create();
  std::uint64_t* data = numbers(*heap, "data", 10);
  data[0] = 1;
  heap->commit_in_background();
  std::uint64_t version = heap->commit();
  EXPECT_FALSE(heap->committing());
  EXPECT_EQ(heap->wait_for_commit(), version);
}

TEST_F(HeapTest, MemoryOfNewObjectsIsThereWithoutFaults) {
  auto heap = create(64 * kMiB, 32 * kMiB);
  auto touch_new_objects = [&] {
    for (int i = 0; i < 4000; ++i) *static_cast<char*>(heap->allocate(2000)) = 1;
  };
  touch_new_objects();
  EXPECT_LT(heap->statistics().missing_faults, 100U);  // of 2000 pages
  heap->set_resident_limit(2 * kMiB);
  touch_new_objects();
  EXPECT_LE(heap->statistics().resident_bytes, 2 * kMiB);
}

TEST_F(HeapTest, LinesOfEverySizeHoldTheSame) {
  for (std::uint32_t line : {4096U, 65536U, 1048576U}) {
    std::string where = path() + std::to_string(line);
    {
      auto heap =
          Heap::create(where, {.size = 128 * kMiB, .line_bytes = line}, {.resident_limit = 16 * kMiB});
      std::uint64_t* data = numbers(*heap, "data", 3 << 20);
      for (std::size_t i = 0; i < 3 << 20; i += 100) data[i] = i;
      heap->commit();
      EXPECT_LE(heap->statistics().resident_bytes, 16 * kMiB);
    }
    auto heap = Heap::open(where, {.resident_limit = 16 * kMiB});
    std::uint64_t* data = numbers(*heap, "data", 0);
    for (std::size_t i = 0; i < 3 << 20; i += 100) ASSERT_EQ(data[i], i) << line;
  }
}

TEST_F(HeapTest, ManyThreadsFaultAtOnce) {
  auto heap = create(64 * kMiB, 2 * kMiB);
  constexpr std::size_t kEach = kMiB;
  constexpr std::size_t kThreads = 4;
  std::uint64_t* data = numbers(*heap, "data", kThreads * kEach);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kEach; i += 97)
        data[i * kThreads + t] = i + t;  // all threads in the same lines
      for (std::size_t i = 0; i < kEach; i += 97) EXPECT_EQ(data[i * kThreads + t], i + t);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(heap->statistics().resident_bytes, 2 * kMiB);
}

TEST_F(HeapTest, OneWriterAndReadersOfAnyVersion) {
  std::uint64_t version = 0;
  std::uint64_t* data = nullptr;
  {
    auto heap = create();
    EXPECT_THROW(open(), Error);  // a second writer
    data = numbers(*heap, "data", 8);
    data[0] = 1;
    version = heap->commit();
    data[0] = 2;
    heap->commit();
  }
  auto reader = Heap::open(path(), {.version = version, .read_only = true});
  EXPECT_EQ(data[0], 1U);
  EXPECT_THROW(reader->commit(), Error);
  EXPECT_THROW(open(), Error) << "the addresses are taken by the reader in this process";
}

TEST_F(HeapTest, GrowsWhileItIsOpen) {
  {
    auto heap = create(1 * kMiB, kMiB);
    EXPECT_EQ(heap->allocate(4 * kMiB), nullptr);
    heap->grow(8 * kMiB);
    std::uint64_t* data = numbers(*heap, "data", kMiB / 2);
    ASSERT_NE(data, nullptr);
    data[kMiB / 2 - 1] = 77;
    heap->commit();
  }
  auto heap = open();
  EXPECT_EQ(heap->size(), 8 * kMiB);
  EXPECT_EQ(numbers(*heap, "data", 0)[kMiB / 2 - 1], 77U);
}

TEST_F(HeapTest, ResidentLimitChangesWhileItIsOpen) {
  auto heap = create(64 * kMiB, 8 * kMiB);
  std::uint64_t* data = numbers(*heap, "data", kMiB);
  for (std::size_t i = 0; i < kMiB; ++i) data[i] = i;
  EXPECT_GT(heap->statistics().resident_bytes, 4 * kMiB);
  heap->set_resident_limit(kMiB);
  EXPECT_LE(heap->statistics().resident_bytes, kMiB);
  for (std::size_t i = 0; i < kMiB; ++i) ASSERT_EQ(data[i], i);
  EXPECT_LE(heap->statistics().resident_bytes, kMiB);
}

TEST_F(HeapTest, StatisticsOfAnOpenHeapAreSeenFromOutside) {
  {
    auto heap = create(64 * kMiB, 2 * kMiB);
    std::uint64_t* data = numbers(*heap, "data", kMiB);
    for (std::size_t i = 0; i < kMiB; i += 512) data[i] = i;
    heap->commit();
    HeapSummary summary = summarize(path());
    ASSERT_TRUE(summary.in_use);
    EXPECT_EQ(summary.in_use->pid, ::getpid());
    Statistics seen = summary.in_use->statistics;
    Statistics now = heap->statistics();
    EXPECT_EQ(seen.commits, 2U);
    EXPECT_GT(seen.missing_faults, 0U);
    EXPECT_GT(seen.hits, 0U);
    EXPECT_GT(seen.evictions, 0U);
    EXPECT_EQ(seen.bytes_out, now.bytes_out);
    EXPECT_EQ(seen.resident_limit_bytes, now.resident_limit_bytes);
    EXPECT_EQ(seen.version, now.version);
    EXPECT_EQ(seen.failure, "");
    auto reader = summarize(path());
    EXPECT_TRUE(reader.in_use);
  }
  EXPECT_FALSE(summarize(path()).in_use);
}

// Several applications, each with its versions, share one store.
TEST_F(HeapTest, SeveralHeapsAreInOneStore) {
  auto one = create();
  auto two = Heap::create(path(), {.size = 16 * kMiB}, {.resident_limit = kMiB, .name = "two"});
  EXPECT_THROW(Heap::open(path(), {.name = "two"}), Error);
  EXPECT_THROW(Heap::open(path(), {.name = "three"}), Error);
  *numbers(*one, "number", 1) = 1;
  *numbers(*two, "number", 1) = 2;
  one->commit();
  std::uint64_t version = two->commit();
  *numbers(*two, "number", 1) = 3;
  two->commit();
  two->roll_back(version);
  EXPECT_EQ(*numbers(*one, "number", 1), 1U);
  EXPECT_EQ(*numbers(*two, "number", 1), 2U);
  EXPECT_EQ(summarize(path(), "two").size_bytes, 16 * kMiB);
  EXPECT_EQ(summarize(path(), "two").in_use->statistics.rollbacks, 1U);
  EXPECT_EQ(summarize(path()).size_bytes, 64 * kMiB);
}

TEST_F(HeapTest, AddressesThatAreTakenAreNamed) {
  std::uint64_t* data = nullptr;
  {
    auto heap = create();
    data = numbers(*heap, "data", 8);
  }
  void* page = reinterpret_cast<void*>(reinterpret_cast<std::uint64_t>(data) / 4096 * 4096);
  ASSERT_EQ(::mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), page);
  try {
    open();
    FAIL() << "the heap is at other addresses";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), EEXIST);
    EXPECT_NE(std::string(error.what()).find("of the heap are taken"), std::string::npos) << error.what();
  }
  ::munmap(page, 4096);
  EXPECT_NE(open(), nullptr);
}

TEST_F(HeapTest, WrongArgumentsAreRefused) {
  EXPECT_THROW(create(1000), Error);
  EXPECT_THROW(create(64 * kMiB, 4 * kMiB, 5000), Error);
  EXPECT_THROW(create(64 * kMiB, 4096), Error);
  EXPECT_THROW(open(), Error);
  auto heap = create();
  EXPECT_THROW(create(), Error);
  int outside = 0;
  EXPECT_THROW(heap->discard(&outside, 1), Error);
  EXPECT_THROW(heap->deallocate(&outside), Error);
  EXPECT_THROW(heap->roll_back(99), Error);
  EXPECT_THROW(heap->grow(kMiB), Error);
}

TEST_F(HeapTest, VersionsGoWhenTheyAreTooMany) {
  auto heap = create();
  for (int i = 0; i < 40; ++i) heap->commit();
  EXPECT_LE(heap->versions().size(), 3U + 8U);
  std::uint64_t oldest = heap->versions().front().version;
  heap->remove_version(oldest);
  EXPECT_NE(heap->versions().front().version, oldest);
  EXPECT_THROW(heap->remove_version(heap->versions().back().version), Error);
}

TEST_F(HeapTest, TaggedVersionsStayAndAreFound) {
  auto heap = create();
  auto* number = numbers(*heap, "number", 1);
  *number = 5;
  std::uint64_t good = heap->commit();
  heap->tag(good, "good");
  for (int i = 0; i < 30; ++i) {
    ++*number;
    heap->commit();
  }
  EXPECT_EQ(heap->tagged("good"), good);
  EXPECT_THROW(heap->tagged("bad"), Error);
  EXPECT_THROW(heap->tag(good, "12"), Error);
  EXPECT_THROW(heap->remove_version(good), Error);
  heap->roll_back(heap->tagged("good"));
  EXPECT_EQ(*number, 5U);
  EXPECT_EQ(heap->versions().front().tags, std::vector<std::string>{"good"});
  heap->untag("good");
  EXPECT_TRUE(heap->versions().front().tags.empty());
}

}  // namespace
}  // namespace ckpt::vmheap
