// Scans for what was written, with and without knowledge of what had content before.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "base/kernel_abi.h"
#include "base/unique_fd.h"
#include "capture/mapping_support.h"
#include "engine/capture/page_scan.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kPages = 1024;       // more than the least known stretch
constexpr std::size_t kManyPages = 49152;  // 192 MiB: shared by several threads

class TrackedScan : public testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    userfault_.reset(
        static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    uffdio_api api{
        .api = UFFD_API,
        .features = kernel::kUserfaultWriteProtectAsync | kernel::kUserfaultWriteProtectUnpopulated,
        .ioctls = 0};
    if (!userfault_ || ::ioctl(userfault_.get(), UFFDIO_API, &api) != 0)
      GTEST_SKIP() << "this kernel cannot track writes";

    uffdio_register registration{.range = {.start = mapping_.start(), .len = mapping_.size_bytes()},
                                 .mode = UFFDIO_REGISTER_MODE_WP,
                                 .ioctls = 0};
    ASSERT_EQ(::ioctl(userfault_.get(), UFFDIO_REGISTER, &registration), 0);
    for (std::size_t page = 0; page < kPages; ++page) *mapping_.page(page) = 'x';
    arm();
  }

  void arm() { ASSERT_TRUE(scanner_.scan_tracked(all(), PageFilter::kAnyContent, Arm::kYes)); }
  void* address(std::size_t page) const { return static_cast<char*>(mapping_.memory()) + page * kPageSize; }
  AddressRange all() const { return {mapping_.start(), mapping_.end()}; }
  AddressRange pages(std::size_t first, std::size_t end) const {
    return {mapping_.start() + first * kPageSize, mapping_.start() + end * kPageSize};
  }
  ScannedPages scan(Arm arm, const AddressRanges& known) {
    std::optional<ScannedPages> found = scanner_.scan_tracked(all(), PageFilter::kAnyContent, arm, known);
    EXPECT_TRUE(found.has_value());
    return found.value_or(ScannedPages());
  }

  UniqueFd userfault_;
  TestMapping mapping_{GetParam()};
  PauseThreads threads_;
  PageScanner scanner_{::getpid(), ScanMethod::kFastest, &threads_};
};

TEST_P(TrackedScan, KnowledgeChangesNothingInTheResult) {
  for (std::size_t page : {0, 5, 6, 700, 1023}) *mapping_.page(page) = 'y';
  *mapping_.page(kPages + 10) = 'y';  // new
  ScannedPages plain = scan(Arm::kNo, {});
  EXPECT_EQ(plain.content, AddressRanges({pages(0, kPages), pages(kPages + 10, kPages + 11)}));
  ScannedPages knowing = scan(Arm::kYes, {pages(0, kPages)});
  EXPECT_EQ(knowing.content, plain.content);
  EXPECT_EQ(knowing.written, plain.written);
  EXPECT_EQ(total_bytes(knowing.written), 6 * kPageSize);
  EXPECT_TRUE(scan(Arm::kYes, {pages(0, kPages)}).written.empty());
}

TEST_P(TrackedScan, PagesThatAreGoneAreReportedAsWritten) {
  ::madvise(address(100), 10 * kPageSize, MADV_DONTNEED);
  ScannedPages found = scan(Arm::kYes, {pages(0, kPages)});
  EXPECT_EQ(found.written, AddressRanges{pages(100, 110)});
  EXPECT_EQ(*mapping_.page(105), 0);
  // A write to one of them is noticed as any other.
  *mapping_.page(103) = 'z';
  EXPECT_EQ(scan(Arm::kYes, {}).written, AddressRanges{pages(103, 104)});
}

TEST_P(TrackedScan, PagesThatHaveBecomeGuardsAreReportedAsWritten) {
  if (::madvise(address(100), kPageSize, kernel::kMadviseGuardInstall) != 0)
    GTEST_SKIP() << "this kernel has no guard regions";
  EXPECT_EQ(scan(Arm::kYes, {pages(0, kPages)}).written, AddressRanges{pages(100, 101)});
}

TEST_P(TrackedScan, ShortKnownStretchesAreScannedLikeUnknownOnes) {
  ::madvise(address(100), kPageSize, MADV_DONTNEED);
  ScannedPages found = scan(Arm::kYes, {pages(90, 110)});
  EXPECT_TRUE(found.written.empty());
  EXPECT_EQ(found.content, AddressRanges({pages(0, 100), pages(101, kPages)}));
}

TEST_P(TrackedScan, MemoryThatIsNotRegisteredIsNotTracked) {
  uffdio_range range{.start = mapping_.start(), .len = mapping_.size_bytes()};
  ASSERT_EQ(::ioctl(userfault_.get(), UFFDIO_UNREGISTER, &range), 0);
  EXPECT_FALSE(scanner_.scan_tracked(all(), PageFilter::kAnyContent, Arm::kYes, {pages(0, kPages)}));
}

// As if the pages were of several mappings, with a gap where nothing is mapped.
class ScanTogether : public TrackedScan {
 protected:
  std::vector<PageScanner::TrackedMapping> mappings() const {
    return {{.range = pages(0, 10)}, {.range = pages(10, 500)}, {.range = pages(600, 2 * kPages)}};
  }
  std::optional<std::vector<ScannedPages>> scan_together(Arm arm) {
    return scanner_.scan_tracked_together(mappings(), arm);
  }
};

TEST_P(ScanTogether, EachMappingHasItsOwn) {
  ::munmap(address(500), 100 * kPageSize);
  for (std::size_t page : {8, 9, 10, 11, 700}) *mapping_.page(page) = 'y';
  for (Arm arm : {Arm::kNo, Arm::kYes}) {
    auto found = scan_together(arm);
    ASSERT_TRUE(found);
    EXPECT_EQ((*found)[0].content, AddressRanges{pages(0, 10)});
    EXPECT_EQ((*found)[1].content, AddressRanges{pages(10, 500)});
    EXPECT_EQ((*found)[2].content, AddressRanges{pages(600, kPages)});
    EXPECT_EQ((*found)[0].written, AddressRanges{pages(8, 10)});
    EXPECT_EQ((*found)[1].written, AddressRanges{pages(10, 12)});
    EXPECT_EQ((*found)[2].written, AddressRanges{pages(700, 701)});
  }
  auto again = scan_together(Arm::kYes);
  ASSERT_TRUE(again);
  for (const ScannedPages& found : *again) EXPECT_TRUE(found.written.empty());
}

TEST_P(ScanTogether, NothingIsArmedWhereOneIsNotRegistered) {
  *mapping_.page(3) = 'y';
  uffdio_range range{.start = mapping_.start() + 600 * kPageSize, .len = kPageSize};
  ASSERT_EQ(::ioctl(userfault_.get(), UFFDIO_UNREGISTER, &range), 0);
  EXPECT_FALSE(scan_together(Arm::kYes));
  auto found = scanner_.scan_tracked(pages(0, 10), PageFilter::kAnyContent, Arm::kYes);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->written, AddressRanges{pages(3, 4)});
}

TEST_P(ScanTogether, GuardsAreTold) {
  if (::madvise(address(5), kPageSize, kernel::kMadviseGuardInstall) != 0)
    GTEST_SKIP() << "this kernel has no guard regions";
  auto found = scan_together(Arm::kYes);
  if (!found) GTEST_SKIP() << "this kernel does not tell of guard regions";
  EXPECT_EQ((*found)[0].guards, AddressRanges{pages(5, 6)});
  EXPECT_EQ((*found)[0].content, AddressRanges({pages(0, 5), pages(6, 10)}));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ScanTogether, testing::Values(2 * kPages));
INSTANTIATE_TEST_SUITE_P(Sizes, TrackedScan, testing::Values(2 * kPages, kManyPages));

}  // namespace
}  // namespace ckpt::engine
