#include "engine/capture/memory_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "capture/mapping_support.h"
#include "process/traced_child_support.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kReadPages = 700;  // more than are looked up at once

// Memory that this process has in common with a child, but for every third page, which the child has written.
class PagesInCommonTest : public testing::Test {
 protected:
  PagesInCommonTest() : mapping_(kReadPages) {
    for (std::size_t page = 0; page < kReadPages; ++page) *mapping_.page(page) = old_content(page);
    child_.emplace([this] {
      for (std::size_t page = 0; page < kReadPages; page += 3) *mapping_.page(page) = 'c';
    });
  }

  static char old_content(std::size_t page) { return static_cast<char>('A' + page % 7); }
  static char content(std::size_t page) { return page % 3 == 0 ? 'c' : old_content(page); }

  AddressRange pages(std::size_t first, std::size_t count) const {
    return {mapping_.start() + first * kPageSize, mapping_.start() + (first + count) * kPageSize};
  }

  std::size_t pages_in_common() const {
    UniqueFd pagemap = open_or_throw("/proc/" + std::to_string(child_->pid()) + "/pagemap", O_RDONLY);
    std::vector<std::uint64_t> entries(kReadPages);
    pread_exactly(pagemap.get(), std::as_writable_bytes(std::span(entries)), mapping_.start() / kPageSize * 8,
                  "pagemap");
    std::size_t count = 0;
    for (std::uint64_t entry : entries) count += (entry & kernel::kPagemapExclusive) == 0 ? 1 : 0;
    return count;
  }

  TestMapping mapping_;
  std::optional<ChildProgram> child_;
};

TEST_F(PagesInCommonTest, AreReadAndStayInCommon) {
  std::size_t before = pages_in_common();
  ASSERT_EQ(before, kReadPages - (kReadPages + 2) / 3);
  MemoryReader reader(child_->pid(), PagesInCommon::kPossible);
  std::vector<std::byte> chunk(kReadPages * kPageSize);
  for (std::size_t page = 0; page < kReadPages;) {
    std::size_t got = reader.read(pages(page, kReadPages - page), chunk) / kPageSize;
    ASSERT_GT(got, 0U) << "page " << page;
    for (std::size_t i = 0; i < got; ++i)
      ASSERT_EQ(static_cast<char>(chunk[i * kPageSize]), content(page + i)) << "page " << page + i;
    page += got;
  }
  EXPECT_EQ(pages_in_common(), before);
}

TEST_F(PagesInCommonTest, AreReadTogetherWithOthers) {
  std::size_t before = pages_in_common();
  std::vector<AddressRange> ranges{pages(0, 1), pages(3, 1), pages(10, 5), pages(690, 10)};
  std::vector<std::byte> out(17 * kPageSize);
  ASSERT_TRUE(MemoryReader(child_->pid(), PagesInCommon::kPossible).read_scattered(ranges, out));
  std::size_t next = 0;
  for (std::size_t page : {0, 3, 10, 11, 12, 13, 14, 690, 691})
    EXPECT_EQ(static_cast<char>(out[next++ * kPageSize]), content(page)) << "page " << page;
  EXPECT_EQ(pages_in_common(), before);
}

TEST_F(PagesInCommonTest, WhatIsNotMappedIsNotRead) {
  TestMapping gone(4);
  AddressRange range{gone.start(), gone.end()};
  ::munmap(gone.memory(), gone.size_bytes());
  std::vector<std::byte> out(4 * kPageSize);
  MemoryReader reader(::getpid(), PagesInCommon::kPossible);
  EXPECT_EQ(reader.read(range, out), 0U);
  EXPECT_FALSE(reader.read_scattered({&range, 1}, out));
  // It goes again at the end.
  EXPECT_NE(
      ::mmap(gone.memory(), gone.size_bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
      MAP_FAILED);
}

}  // namespace
}  // namespace ckpt::engine
