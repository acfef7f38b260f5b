// A store that refuses to be written: the heap goes on, and commits once there is space again.
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "heap_fixture.h"
#include "store/system_calls.h"
#include "support/failing_calls.h"
#include "vmheap/tools.h"

namespace ckpt::vmheap {
namespace {

class StoreFailureTest : public HeapFixture {
 protected:
  ~StoreFailureTest() override { store::system_calls() = original_; }

  // Whether an access works, or raises SIGBUS.
  static bool can_be_read(const volatile std::uint64_t* number) {
    struct sigaction jump {};
    struct sigaction before {};
    jump.sa_handler = [](int) { siglongjmp(where_, 1); };
    ::sigaction(SIGBUS, &jump, &before);
    bool works = sigsetjmp(where_, 1) == 0 && *number != 0;
    ::sigaction(SIGBUS, &before, nullptr);
    return works;
  }

  inline static sigjmp_buf where_{};
  store::SystemCalls original_ = store::system_calls();
};

TEST_F(StoreFailureTest, HeapGoesOnAfterAFailedCommit) {
  auto heap = create();
  std::uint64_t* data = numbers(*heap, "data", 1 << 16);
  std::uint64_t before = heap->commit();
  for (std::uint64_t i = 0; i < 1 << 16; ++i) data[i] = i;
  store::system_calls().fdatasync = tests::failing_sync;
  EXPECT_THROW(heap->commit(), Error);
  store::system_calls() = original_;
  EXPECT_FALSE(heap->statistics().failure.empty());
  EXPECT_EQ(heap->versions().back().version, before);
  EXPECT_EQ(data[12345], 12345U);
  data[0] = 99;
  heap->commit();
  EXPECT_TRUE(heap->statistics().failure.empty());
  heap->roll_back();
  EXPECT_EQ(data[0], 99U);
  EXPECT_EQ(data[65535], 65535U);
}

TEST_F(StoreFailureTest, WhatWasStoredEarlySurvivesAFailedCommit) {
  auto heap = create(64 * kMiB, kMiB);
  constexpr std::size_t kCount = 3 * kMiB;  // 24 MiB, of which most is evicted
  std::uint64_t* data = numbers(*heap, "data", kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) data[i] = i + 1;
  store::system_calls().pwrite = tests::write_without_space;
  EXPECT_THROW(heap->commit(), Error);
  store::system_calls() = original_;
  for (std::uint64_t i = 0; i < kCount; i += 1001) ASSERT_EQ(data[i], i + 1);
  heap->commit();
  heap->roll_back();
  for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(data[i], i + 1);
}

// Every frame is dirty when the store has space again: a read finds that out.
TEST_F(StoreFailureTest, WhereNothingIsCleanTheStoreIsTriedAgain) {
  auto heap = create(64 * kMiB, kMiB);
  constexpr std::size_t kCount = 3 * kMiB;
  std::uint64_t* data = numbers(*heap, "data", kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) data[i] = i + 1;
  store::system_calls().pwrite = tests::write_without_space;
  EXPECT_THROW(heap->commit(), Error);
  store::system_calls() = original_;
  for (std::uint64_t i = 0; i < kCount / 24; ++i) ++data[i];
  for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(data[i], i < kCount / 24 ? i + 2 : i + 1);
}

// An access that could not be served raises SIGBUS; the line can be had again when its cause is gone.
TEST_F(StoreFailureTest, WhatCouldNotBeHadCanBeAfterACommit) {
  auto heap = create(64 * kMiB, kMiB);
  constexpr std::size_t kCount = 3 * kMiB;
  std::uint64_t* data = numbers(*heap, "data", kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) data[i] = i + 1;
  heap->commit();
  store::system_calls().pread = [](int, void*, std::size_t, off_t) -> ssize_t {
    errno = EIO;
    return -1;
  };
  EXPECT_FALSE(can_be_read(data));
  EXPECT_FALSE(heap->statistics().failure.empty());
  store::system_calls() = original_;
  heap->commit();
  EXPECT_TRUE(can_be_read(data));
}

// Nobody goes on from an older version without being told.
TEST_F(StoreFailureTest, ADamagedNewestVersionIsNotPassedOver) {
  std::uint64_t newest = 0;
  {
    auto heap = create();
    *numbers(*heap, "number", 1) = 7;
    newest = heap->commit();
  }
  std::string segments = path() + "/heap/v000000000";
  std::filesystem::resize_file(segments + "2.ckpt", 100);
  ASSERT_EQ(newest, 2U);
  try {
    open();
    FAIL() << "version 1 was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), EBADMSG);
    EXPECT_NE(std::string(error.what()).find("makes version 1 the newest"), std::string::npos)
        << error.what();
  }
  roll_back(path(), 1);
  EXPECT_EQ(open()->root("number"), nullptr);
  for (const char* version : {"1", "3"}) std::filesystem::resize_file(segments + version + ".ckpt", 100);
  // Nor is a new heap made in the place of a damaged one.
  EXPECT_THROW(Heap::open_or_create(path(), {}), Error);
}

TEST_F(StoreFailureTest, ADamagedHeapIsRefused) {
  create().reset();
  std::fstream segment(path() + "/heap/v0000000001.ckpt", std::ios::in | std::ios::out | std::ios::binary);
  segment.seekp(100);
  segment.put('x');
  segment.close();
  EXPECT_THROW(open(), Error);
}

}  // namespace
}  // namespace ckpt::vmheap
