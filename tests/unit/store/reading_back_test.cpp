// Pages of a version that is not complete yet, read back while it is written, after it is complete, after it
// failed.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "store/system_calls.h"
#include "store/table_cache.h"
#include "store_fixture.h"
#include "support/failing_calls.h"

namespace ckpt::store {
namespace {

class ReadingBackTest : public StoreTest {
 protected:
  // Past the page cache, hence aligned.
  static Page read_back(const PutPages& pages, std::uint64_t unit) {
    struct Free {
      void operator()(std::byte* bytes) const { std::free(bytes); }
    };
    std::unique_ptr<std::byte, Free> bytes(
        static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kPageBytes)));
    pages.read(unit, {bytes.get(), kPageBytes});
    return {bytes.get(), bytes.get() + kPageBytes};
  }

  static void expect_all(CheckpointWriter& writer, const PutPages& pages, std::uint64_t count) {
    for (std::uint64_t page = 0; page < count; ++page) {
      PutPlace place = writer.find_put(1, page);
      ASSERT_EQ(place.kind, PutPlace::Kind::kPut) << page;
      ASSERT_EQ(read_back(pages, place.unit), page_of(page)) << page;
    }
  }
};

// More than the output's buffers hold, so that some are in the file and some are not.
constexpr std::uint64_t kPagesOfSegment = 5000;

TEST_F(ReadingBackTest, PagesAreReadableBeforeAndAfterTheCommit) {
  auto writer = application_->begin(0, Base::kParent);
  auto pages = writer->put_pages();
  for (std::uint64_t page = 0; page < kPagesOfSegment; ++page) writer->put(1, page, page_of(page));
  expect_all(*writer, *pages, kPagesOfSegment);
  commit(*writer);
  expect_all(*writer, *pages, kPagesOfSegment);
}

TEST_F(ReadingBackTest, PagesSurviveAFailedCommitAndGoIntoTheNextVersion) {
  auto dead = application_->begin(0, Base::kParent);
  auto pages = dead->put_pages();
  for (std::uint64_t page = 0; page < kPagesOfSegment; ++page) dead->put(1, page, page_of(page));
  system_calls().fdatasync = tests::failing_sync;
  EXPECT_THROW(commit(*dead), Error);
  system_calls() = kRealCalls;
  auto writer = application_->begin(0, Base::kParent);
  expect_all(*dead, *pages, kPagesOfSegment);
  for (std::uint64_t page = 0; page < kPagesOfSegment; ++page)
    writer->put(1, page, read_back(*pages, dead->find_put(1, page).unit));
  expect_all(*dead, *pages, kPagesOfSegment);  // whatever the new one did with the buffers
  EXPECT_EQ(content(commit(*writer))[1].size(), kPagesOfSegment);
}

TEST_F(ReadingBackTest, WhatWasNotWrittenWhenADiskWasFullStaysInMemory) {
  auto dead = application_->begin(0, Base::kParent);
  auto pages = dead->put_pages();
  for (std::uint64_t page = 0; page < 3000; ++page) dead->put(1, page, page_of(page));
  system_calls().pwrite = tests::write_without_space;
  EXPECT_THROW(commit(*dead), Error);
  system_calls() = kRealCalls;
  expect_all(*dead, *pages, 3000);
}

TEST_F(ReadingBackTest, KnowsWhatIsTheParentsAndWhatIsGone) {
  auto first = application_->begin(0, Base::kParent);
  for (std::uint64_t page = 0; page < 4; ++page) first->put(1, page, page_of(page));
  Version parent = commit(*first);
  auto writer = application_->begin(parent, Base::kParent);
  auto pages = writer->put_pages();
  writer->put(1, 0, page_of(0));  // as it was
  writer->put(1, 1, page_of(77));
  writer->drop(1, {.first_page = 2, .page_count = 1});
  EXPECT_EQ(writer->find_put(1, 0).kind, PutPlace::Kind::kParent);
  EXPECT_EQ(read_back(*pages, writer->find_put(1, 1).unit), page_of(77));
  EXPECT_EQ(writer->find_put(1, 2).kind, PutPlace::Kind::kAbsent);
  EXPECT_EQ(writer->find_put(1, 3).kind, PutPlace::Kind::kParent);
  EXPECT_EQ(writer->find_put(9, 3).kind, PutPlace::Kind::kParent);
}

TEST_F(ReadingBackTest, AbsentPagesReadAsZeroesWithAndWithoutRememberedLeaves) {
  auto writer = application_->begin(0, Base::kParent);
  for (std::uint64_t page : {1, 2, 600, 100000}) writer->put(1, page, page_of(page));
  Version version = commit(*writer);
  for (const auto& tables : {std::shared_ptr<TableCache>(), std::make_shared<TableCache>(2)}) {
    auto reader = application_->open(version, tables);
    for (int round = 0; round < 2; ++round) {
      Page run(4 * kPageBytes, std::byte{1});
      EXPECT_EQ(reader->read_or_zero(1, {.first_page = 0, .page_count = 4}, run), 2U);
      Page expected(4 * kPageBytes);
      std::ranges::copy(page_of(1), expected.begin() + kPageBytes);
      std::ranges::copy(page_of(2), expected.begin() + 2 * kPageBytes);
      EXPECT_EQ(run, expected);
      Page one(kPageBytes);
      EXPECT_EQ(reader->read_or_zero(1, {.first_page = 600, .page_count = 1}, one), 1U);
      EXPECT_EQ(one, page_of(600));
      EXPECT_EQ(reader->read_or_zero(1, {.first_page = 100000, .page_count = 1}, one), 1U);
      EXPECT_EQ(one, page_of(100000));
      EXPECT_EQ(reader->read_or_zero(7, {.first_page = 600, .page_count = 1}, one), 0U);
      EXPECT_EQ(one, Page(kPageBytes));
    }
  }
}

}  // namespace
}  // namespace ckpt::store
