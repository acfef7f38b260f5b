#include "engine/capture/page_scan.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "capture/mapping_support.h"
#include "process/traced_child_support.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;
using Pages = std::vector<std::size_t>;

// Indexes of the pages that were found.
Pages expand(const std::vector<AddressRange>& ranges, const TestMapping& mapping) {
  Pages pages;
  for (const AddressRange& range : ranges) {
    for (std::uint64_t at = range.start; at < range.end; at += kPageSize)
      pages.push_back((at - mapping.start()) / kPageSize);
  }
  return pages;
}

void touch(const TestMapping& mapping, const Pages& pages) {
  for (std::size_t page : pages) *mapping.page(page) = 'x';
}

void read_all(const TestMapping& mapping) {
  for (std::size_t at = 0; at < mapping.size_bytes() / kPageSize; ++at) static_cast<void>(*mapping.page(at));
}

bool kernel_has_ioctl() {
  UniqueFd pagemap = open_or_throw("/proc/self/pagemap", O_RDONLY);
  kernel::PagemapScanArguments arguments{};
  arguments.size = sizeof(arguments);
  return ::ioctl(pagemap.get(), kernel::kPagemapScan, &arguments) >= 0;
}

class PageScan : public testing::TestWithParam<ScanMethod> {
 protected:
  static Pages scan(const TestMapping& mapping, PageFilter filter = PageFilter::kAnyContent,
                    pid_t pid = ::getpid()) {
    return expand(PageScanner(pid, GetParam()).scan({mapping.start(), mapping.end()}, filter), mapping);
  }
};

TEST_P(PageScan, FindsNothingInUntouchedMemory) { EXPECT_THAT(scan(TestMapping(64)), IsEmpty()); }

TEST_P(PageScan, FindsExactlyTheTouchedPages) {
  TestMapping mapping(64);
  touch(mapping, {0, 7, 8, 9, 40, 63});
  EXPECT_THAT(scan(mapping), ElementsAre(0, 7, 8, 9, 40, 63));
}

TEST_P(PageScan, MergesNeighbours) {
  TestMapping mapping(16);
  touch(mapping, {3, 4, 5});
  auto ranges =
      PageScanner(::getpid(), GetParam()).scan({mapping.start(), mapping.end()}, PageFilter::kAnyContent);
  ASSERT_EQ(ranges.size(), 1U);
  EXPECT_EQ(ranges[0].start, mapping.start() + 3 * kPageSize);
  EXPECT_EQ(ranges[0].end, mapping.start() + 6 * kPageSize);
}

TEST_P(PageScan, LooksOnlyInsideTheRange) {
  TestMapping mapping(8);
  touch(mapping, {0, 1, 2, 3, 4, 5, 6, 7});
  auto ranges =
      PageScanner(::getpid(), GetParam())
          .scan({mapping.start() + 2 * kPageSize, mapping.start() + 4 * kPageSize}, PageFilter::kAnyContent);
  EXPECT_THAT(expand(ranges, mapping), ElementsAre(2, 3));
}

// More separate pages than one call reports, and more pages than one read brings.
TEST_P(PageScan, GoesOnWhereTheKernelsAnswerEnded) {
  TestMapping mapping(10'000);
  Pages every_other;
  for (std::size_t page = 1; page < 10'000; page += 2) every_other.push_back(page);
  touch(mapping, every_other);
  EXPECT_THAT(scan(mapping), ElementsAreArray(every_other));
}

TEST_P(PageScan, FindsContentThatMayNotBeAccessed) {
  TestMapping mapping(8);
  touch(mapping, {2, 5});
  ASSERT_EQ(::mprotect(mapping.memory(), mapping.size_bytes(), PROT_NONE), 0);
  EXPECT_THAT(scan(mapping), ElementsAre(2, 5));
}

TEST_P(PageScan, ForgetsWhatTheProgramGaveBack) {
  TestMapping mapping(8);
  touch(mapping, {2, 5});
  ASSERT_EQ(::madvise(mapping.memory(), 3 * kPageSize, MADV_DONTNEED), 0);
  EXPECT_THAT(scan(mapping), ElementsAre(5));
}

TEST_P(PageScan, PrivateCopiesOfAFileAreThePagesWrittenTo) {
  TemporaryDirectory directory;
  UniqueFd fd = open_or_throw(directory.file_with("file", std::string(8 * kPageSize, 'f')), O_RDONLY);
  TestMapping mapping(8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get());
  read_all(mapping);
  touch(mapping, {2, 5});
  EXPECT_THAT(scan(mapping, PageFilter::kPrivateCopy), ElementsAre(2, 5));
  EXPECT_THAT(scan(mapping, PageFilter::kAnyContent), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST_P(PageScan, SeesMemoryOfAnotherProcess) {
  TestMapping mapping(8);
  touch(mapping, {1});
  ChildProgram child([&] { touch(mapping, {4}); });
  EXPECT_THAT(scan(mapping, PageFilter::kAnyContent, child.pid()), ElementsAre(1, 4));
  EXPECT_THAT(scan(mapping), ElementsAre(1));
}

INSTANTIATE_TEST_SUITE_P(Methods, PageScan, testing::Values(ScanMethod::kFastest, ScanMethod::kReading),
                         [](const auto& method) -> std::string {
                           return method.param == ScanMethod::kFastest ? "Fastest" : "Reading";
                         });

TEST(PageScanner, DoesNotCountReadsOfTheZeroPage) {
  if (!kernel_has_ioctl()) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  TestMapping mapping(8);
  read_all(mapping);
  touch(mapping, {6});
  PageScanner scanner(::getpid());
  AddressRange range{mapping.start(), mapping.end()};
  EXPECT_THAT(expand(scanner.scan(range, PageFilter::kAnyContent), mapping), ElementsAre(6));
}

TEST(PageScanner, OfNoProcessIsAnError) { EXPECT_THROW(PageScanner{INT_MAX}, Error); }

}  // namespace
}  // namespace ckpt::engine
