// However pages are scattered over segments, a read gets them, in few and large reads, past the page cache
// where that is possible.
#include <fcntl.h>

#include <atomic>
#include <random>

#include "store/system_calls.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

std::atomic<int> reads;
std::atomic<int> direct_reads;

ssize_t count_read(int fd, void* out, std::size_t size, off_t offset) {
  ++reads;
  if ((fcntl(fd, F_GETFL) & O_DIRECT) != 0) ++direct_reads;
  return kRealCalls.pread(fd, out, size, offset);
}

class Reading : public StoreTest {
 protected:
  static constexpr std::uint64_t kPages = 3000;

  // A full version, and two that change every third and some pages at random.
  Reading() {
    nothing_is_cached();
    auto writer = application_->begin(0, Base::kEmpty);
    for (std::uint64_t i = 0; i < kPages; ++i) put(*writer, i, i + 1);
    commit(*writer);
    writer.reset();
    writer = application_->begin(1, Base::kParent);
    for (std::uint64_t i = 0; i < kPages; i += 3) put(*writer, i, i + 10000);
    commit(*writer);
    writer.reset();
    writer = application_->begin(2, Base::kParent);
    std::mt19937_64 random(1);
    for (std::uint64_t i = 0; i < 300; ++i) put(*writer, random() % kPages, i + 20000);
    commit(*writer);
    writer.reset();
    reader_ = application_->open(3);
  }
  ~Reading() override { system_calls() = kRealCalls; }

  static void nothing_is_cached() {
    system_calls().cached_pages = [](int, std::uint64_t, std::uint64_t) -> std::int64_t { return 0; };
  }

  void put(CheckpointWriter& writer, std::uint64_t number, std::uint64_t seed) {
    expected_.resize(kPages * kPageBytes);
    Page page = page_of(seed);
    std::ranges::copy(page, expected_.begin() + static_cast<std::ptrdiff_t>(number * kPageBytes));
    writer.put(0, number, page);
  }

  void expect_whole(std::size_t misalignment) {
    std::vector<std::byte> memory(kPages * kPageBytes + 2 * kPageBytes);
    auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    std::size_t skip = (kPageBytes - address % kPageBytes) % kPageBytes + misalignment;
    std::span<std::byte> out = std::span(memory).subspan(skip, kPages * kPageBytes);
    reader_->read(0, {.first_page = 0, .page_count = kPages}, out);
    EXPECT_TRUE(std::ranges::equal(out, expected_));
  }

  std::vector<std::byte> expected_;
  std::unique_ptr<CheckpointReader> reader_;
};

TEST_F(Reading, scattered_pages_take_few_reads) {
  expect_whole(0);
  system_calls().pread = count_read;
  reads = direct_reads = 0;
  expect_whole(0);
  // 6 leaves of up to three nodes, and 3000 pages in three segments.
  EXPECT_LE(reads, 6 * 2 * 3 + 6 + 4 + 4 + 12);
  EXPECT_GE(direct_reads, 3);
}

TEST_F(Reading, what_the_page_cache_holds_is_taken_from_there) {
  system_calls().pread = count_read;
  system_calls().cached_pages = [](int, std::uint64_t, std::uint64_t size) {
    return static_cast<std::int64_t>(size / kPageBytes);
  };
  direct_reads = 0;
  expect_whole(0);
  EXPECT_EQ(direct_reads, 0);
  system_calls().cached_pages = [](int, std::uint64_t, std::uint64_t size) {
    return static_cast<std::int64_t>(size / kPageBytes) - 1;
  };
  expect_whole(0);
  EXPECT_GE(direct_reads, 3);
}

TEST_F(Reading, kernels_that_do_not_tell_what_is_cached_read_past_it) {
  system_calls().pread = count_read;
  system_calls().cached_pages = [](int, std::uint64_t, std::uint64_t) -> std::int64_t {
    errno = ENOSYS;
    return -1;
  };
  direct_reads = 0;
  expect_whole(0);
  EXPECT_GE(direct_reads, 3);
}

TEST_F(Reading, any_alignment_of_the_result_will_do) {
  expect_whole(0);
  expect_whole(1);
  expect_whole(512);
}

TEST_F(Reading, file_systems_without_direct_reads_are_read_through_the_page_cache) {
  system_calls().pread = [](int fd, void* out, std::size_t size, off_t offset) -> ssize_t {
    if ((fcntl(fd, F_GETFL) & O_DIRECT) == 0) return kRealCalls.pread(fd, out, size, offset);
    errno = EINVAL;
    return -1;
  };
  expect_whole(0);
  expect_whole(8);
  reader_ = application_->open(3);
  system_calls().openat = [](int directory, const char* path, int flags, mode_t mode) {
    if ((flags & O_DIRECT) == 0) return kRealCalls.openat(directory, path, flags, mode);
    errno = EINVAL;
    return -1;
  };
  expect_whole(0);
}

TEST_F(Reading, short_and_interrupted_reads_are_continued) {
  static std::atomic<int> calls;
  system_calls().pread = [](int fd, void* out, std::size_t size, off_t offset) -> ssize_t {
    if (++calls % 3 == 0) {
      errno = EINTR;
      return -1;
    }
    std::size_t part = calls % 2 == 0 ? std::min<std::size_t>(size, 3 * kPageBytes) : size;
    return kRealCalls.pread(fd, out, part, offset);
  };
  expect_whole(0);
  expect_whole(16);
}

TEST_F(Reading, a_failed_read_is_an_error_that_names_the_file) {
  system_calls().pread = [](int fd, void* out, std::size_t size, off_t offset) -> ssize_t {
    if ((fcntl(fd, F_GETFL) & O_DIRECT) == 0) return kRealCalls.pread(fd, out, size, offset);
    errno = EIO;
    return -1;
  };
  std::vector<std::byte> out(kPages * kPageBytes);
  std::string message = error_of([&] { reader_->read(0, {.first_page = 0, .page_count = kPages}, out); });
  EXPECT_EQ(message.find("read " + application_->path()), 0U) << message;
  EXPECT_NE(message.find("EIO"), std::string::npos) << message;
}

TEST_F(Reading, pages_stay_readable_after_the_removal_of_every_version) {
  for (Version version : versions()) application_->remove(version);
  expect_whole(0);
}

TEST_F(Reading, stored_runs_say_where_each_page_is) {
  std::uint64_t next = 0;
  auto stored = reader_->stored_runs(0);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const StoredRun& run = stored[i];
    EXPECT_EQ(run.run.first_page, next);
    next += run.run.page_count;
    EXPECT_GE(run.segment, 1U);
    EXPECT_LE(run.segment, 3U);
    if (i > 0) {
      const StoredRun& before = stored[i - 1];
      EXPECT_TRUE(run.segment != before.segment || run.unit != before.unit + before.run.page_count);
    }
  }
  EXPECT_EQ(next, kPages);
  EXPECT_TRUE(reader_->stored_runs(9).empty());
}

}  // namespace
}  // namespace ckpt::store
