// What PAGEMAP_SCAN (Linux 6.7) and /proc/PID/pagemap tell an outsider about the pages of a process.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "base/unique_fd.h"
#include "child_support.h"

namespace ckpt::assumptions {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 4;
constexpr std::uint64_t kCategories =
    kernel::kPageIsPresent | kernel::kPageIsSwapped | kernel::kPageIsFile | kernel::kPageIsPfnZero;

// The mappings are made in this process and inherited by the child; what the child touches is its own.
class PagemapOfChild : public testing::Test {
 protected:
  void SetUp() override {
    file_ = UniqueFd(memfd_create("pages", MFD_CLOEXEC));
    ASSERT_TRUE(file_);
    ASSERT_EQ(ftruncate(file_.get(), kPages * kPage), 0);
    anonymous_ = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    private_file_ = map(MAP_PRIVATE, file_.get());
    shared_file_ = map(MAP_SHARED, file_.get());
    child_.emplace([this] {
      for (volatile char* memory : {anonymous_, private_file_, shared_file_}) touch(memory);
      *touched_ = true;
      for (;;) pause();
      return 0;
    });
    ASSERT_TRUE(wait_until([this] { return touched_->load(); }));
    pagemap_ = open_or_throw("/proc/" + std::to_string(child_->pid()) + "/pagemap", O_RDONLY);
  }

  void TearDown() override {
    for (volatile char* memory : {anonymous_, private_file_, shared_file_}) {
      munmap(const_cast<char*>(memory), kPages * kPage);
    }
  }

  static volatile char* map(int flags, int fd) {
    void* memory = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, flags, fd, 0);
    EXPECT_NE(memory, MAP_FAILED);
    madvise(memory, kPages * kPage, MADV_NOHUGEPAGE);
    return static_cast<volatile char*>(memory);
  }

  // In the child: page 0 is written, page 1 is read, page 2 was written and is discarded, page 3 stays
  // untouched.
  static void touch(volatile char* memory) {
    memory[0] = 'x';
    [[maybe_unused]] char seen = memory[kPage];
    memory[2 * kPage] = 'x';
    madvise(const_cast<char*>(memory) + 2 * kPage, kPage, MADV_DONTNEED);
  }

  // Categories of one page of the child; nothing for a page without any.
  static std::uint64_t categories(int pagemap, volatile char* page, int& error) {
    auto start = reinterpret_cast<std::uint64_t>(page);
    kernel::PageRegion region{};
    kernel::PagemapScanArguments arguments{};
    arguments.size = sizeof arguments;
    arguments.start = start;
    arguments.end = start + kPage;
    arguments.vec = reinterpret_cast<std::uint64_t>(&region);
    arguments.vec_len = 1;
    arguments.category_anyof_mask = kCategories;
    arguments.return_mask = kCategories;
    int regions = ioctl(pagemap, kernel::kPagemapScan, &arguments);
    error = regions < 0 ? errno : 0;
    return regions == 1 ? region.categories : 0;
  }

  void skip_without_scan() {
    int error = 0;
    categories(pagemap_.get(), anonymous_, error);
    if (error == ENOTTY) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN (Linux 6.7)";
    ASSERT_EQ(error, 0);
  }

  std::uint64_t scan(volatile char* memory, std::size_t page) {
    int error = 0;
    std::uint64_t found = categories(pagemap_.get(), memory + page * kPage, error);
    EXPECT_EQ(error, 0);
    return found;
  }

  std::uint64_t entry(volatile char* memory, std::size_t page) {
    std::uint64_t value = 0;
    std::uint64_t number = reinterpret_cast<std::uint64_t>(memory) / kPage + page;
    pread_exactly(pagemap_.get(), std::as_writable_bytes(std::span(&value, 1)), number * sizeof value,
                  "pagemap");
    return value;
  }

  UniqueFd file_;
  volatile char* anonymous_ = nullptr;
  volatile char* private_file_ = nullptr;
  volatile char* shared_file_ = nullptr;
  Shared<std::atomic<bool>> touched_;
  std::optional<Child> child_;
  UniqueFd pagemap_;
};

TEST_F(PagemapOfChild, ScanShowsWhichAnonymousPagesHoldContent) {
  ASSERT_NO_FATAL_FAILURE(skip_without_scan());
  if (IsSkipped()) return;
  EXPECT_EQ(scan(anonymous_, 0), kernel::kPageIsPresent);
  EXPECT_EQ(scan(anonymous_, 1), kernel::kPageIsPresent | kernel::kPageIsPfnZero);
  EXPECT_EQ(scan(anonymous_, 2), 0U);
  EXPECT_EQ(scan(anonymous_, 3), 0U);
}

TEST_F(PagemapOfChild, ScanTellsChangedPagesOfPrivateFileMappingsFromTheFiles) {
  ASSERT_NO_FATAL_FAILURE(skip_without_scan());
  if (IsSkipped()) return;
  EXPECT_EQ(scan(private_file_, 0), kernel::kPageIsPresent);
  EXPECT_EQ(scan(private_file_, 1), kernel::kPageIsPresent | kernel::kPageIsFile);
}

TEST_F(PagemapOfChild, ScanCallsEveryPageOfSharedMappingsTheFiles) {
  ASSERT_NO_FATAL_FAILURE(skip_without_scan());
  if (IsSkipped()) return;
  EXPECT_EQ(scan(shared_file_, 0) & kernel::kPageIsFile, kernel::kPageIsFile);
}

TEST_F(PagemapOfChild, EntriesShowTheSameWithoutTheScan) {
  EXPECT_NE(entry(anonymous_, 0) & kernel::kPagemapPresent, 0U);
  EXPECT_EQ(entry(anonymous_, 2) & (kernel::kPagemapPresent | kernel::kPagemapSwapped), 0U);
  EXPECT_EQ(entry(anonymous_, 3) & (kernel::kPagemapPresent | kernel::kPagemapSwapped), 0U);
  EXPECT_EQ(entry(private_file_, 0) & kernel::kPagemapFileOrShared, 0U);
  EXPECT_NE(entry(private_file_, 1) & kernel::kPagemapFileOrShared, 0U);
}

}  // namespace
}  // namespace ckpt::assumptions
