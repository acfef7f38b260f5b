#include "base/file_io.h"
#include "store/known_pages.h"
#include "store/system_calls.h"
#include "store_fixture.h"
#include "support/failing_calls.h"

namespace ckpt::store {
namespace {

constexpr std::uint64_t kManyPages = 600;  // of more than one node

class EqualPagesTest : public StoreTest {
 protected:
  static std::vector<std::byte> pages(std::uint64_t first_seed, std::uint64_t count = kManyPages) {
    std::vector<std::byte> bytes;
    for (std::uint64_t seed = first_seed; seed < first_seed + count; ++seed) {
      Page page = page_of(seed);
      bytes.insert(bytes.end(), page.begin(), page.end());
    }
    return bytes;
  }

  // Returns the version and how many pages it has written.
  std::pair<Version, std::uint64_t> commit_counting(CheckpointWriter& writer) {
    VersionDescription description;
    description.run_id = "run";
    Version version = writer.commit(description, {});
    return {version, description.stats.pages_written};
  }

  static void expect_pages(const Model& model, SpaceId space, std::uint64_t first_page,
                           std::uint64_t first_seed, std::uint64_t count = kManyPages) {
    for (std::uint64_t i = 0; i < count; ++i)
      ASSERT_EQ(model.at(space).at(first_page + i), page_of(first_seed + i)) << space << " " << i;
  }

  void expect_sound() {
    auto report = application_->verify(versions());
    EXPECT_TRUE(report.damaged.empty());
  }
};

TEST_F(EqualPagesTest, OfSeveralSpacesAreStoredOnce) {
  auto writer = application_->begin(0, Base::kParent);
  writer->put(0, 10, pages(0));
  writer->put(1, 10, pages(0));
  writer->put(2, 777, pages(0));
  auto [version, written] = commit_counting(*writer);
  EXPECT_EQ(written, kManyPages);
  Model model = content(version);
  expect_pages(model, 0, 10, 0);
  expect_pages(model, 1, 10, 0);
  expect_pages(model, 2, 777, 0);
  expect_sound();
}

TEST_F(EqualPagesTest, OfAnOlderVersionAreReferredTo) {
  auto first = application_->begin(0, Base::kParent);
  first->put(0, 0, pages(0));
  Version parent = commit(*first);
  auto writer = application_->begin(parent, Base::kParent);
  writer->put(1, 5000, pages(0));
  auto [version, written] = commit_counting(*writer);
  EXPECT_EQ(written, 0U);
  application_->remove(parent);
  application_->reclaim();
  expect_pages(content(version), 1, 5000, 0);
  expect_sound();
}

TEST_F(EqualPagesTest, OnePageEverywhereIsStoredOnce) {
  auto writer = application_->begin(0, Base::kParent);
  for (std::uint64_t page = 0; page < 2000; page += 2) writer->put(0, page, page_of(7));
  auto [version, written] = commit_counting(*writer);
  EXPECT_EQ(written, 1U);
  EXPECT_EQ(content(version)[0].size(), 1000U);
  expect_sound();
}

TEST_F(EqualPagesTest, CompressedOnesOfAnOlderVersionAreReferredTo) {
  WriteOptions compressed{.compression = Compression::kLz4};
  auto first = application_->begin(0, Base::kParent, compressed);
  first->put(0, 0, pages(0));
  Version parent = commit(*first);
  auto writer = application_->begin(parent, Base::kParent, compressed);
  writer->put(1, 3, pages(0));
  writer->put(2, 3, pages(1000));
  writer->put(3, 3, pages(1000));  // not readable yet
  auto [version, written] = commit_counting(*writer);
  EXPECT_EQ(written, 2 * kManyPages);
  expect_pages(content(version), 1, 3, 0);
  expect_pages(content(version), 3, 3, 1000);
}

// What is dead there may be gone from the disk, and still be seen through a descriptor from before.
TEST_F(EqualPagesTest, SegmentsOfRemovedVersionsAreNotReferredTo) {
  auto first = application_->begin(0, Base::kParent);
  first->put(0, 0, pages(0));
  Version removed = commit(*first);
  auto second = application_->begin(removed, Base::kParent);
  second->drop(0, {.first_page = 0, .page_count = kManyPages - 1});
  Version parent = commit(*second);
  application_->remove(removed);
  EXPECT_GT(application_->reclaim().bytes_freed, 0U);
  auto writer = application_->begin(parent, Base::kParent);
  writer->put(1, 0, pages(0, kManyPages - 1));
  auto [version, written] = commit_counting(*writer);
  EXPECT_GE(written, kManyPages - 1);
  application_ = store_->application("app");  // nothing is remembered
  expect_pages(content(version), 1, 0, 0, kManyPages - 1);
  expect_sound();
}

// It would have had the number that the next one has.
TEST_F(EqualPagesTest, WhatAFailedVersionWroteIsNotTrusted) {
  auto failed = application_->begin(0, Base::kParent);
  failed->put(0, 0, pages(0));
  system_calls().fdatasync = tests::failing_sync;
  EXPECT_THROW(commit(*failed), Error);
  system_calls() = kRealCalls;
  auto writer = application_->begin(0, Base::kParent);
  writer->put(0, 0, pages(5000));
  writer->put(1, 0, pages(0));
  auto [version, written] = commit_counting(*writer);
  EXPECT_EQ(written, 2 * kManyPages);
  expect_pages(content(version), 0, 0, 5000);
  expect_pages(content(version), 1, 0, 0);
}

TEST_F(EqualPagesTest, AreNotSharedByAWriterThatReadsBack) {
  auto writer = application_->begin(0, Base::kParent);
  auto put = writer->put_pages();
  writer->put(0, 0, pages(0));
  writer->put(1, 0, pages(0));
  EXPECT_EQ(writer->find_put(1, 3).kind, PutPlace::Kind::kPut);
  EXPECT_EQ(commit_counting(*writer).second, 2 * kManyPages);
}

TEST_F(EqualPagesTest, WriterThatHasPutCannotReadBackAnyMore) {
  auto writer = application_->begin(0, Base::kParent);
  writer->put(0, 0, page_of(1));
  EXPECT_THROW(writer->put_pages(), Error);
}

TEST(KnownPagesTest, RemembersMostWhileItGrows) {
  KnownPages known;
  constexpr std::uint32_t kCount = 100'000;
  auto reference = [](std::uint32_t i) {
    return Reference{.segment = 1, .unit = i, .digest = digest_of(std::as_bytes(std::span(&i, 1)))};
  };
  for (std::uint32_t i = 0; i < kCount; ++i) known.add(reference(i));
  std::uint32_t found = 0;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    Reference page = known.find(reference(i).digest);
    if (!page.present()) continue;
    EXPECT_EQ(page, reference(i));
    ++found;
  }
  EXPECT_GT(found, kCount / 2);
  EXPECT_FALSE(known.find(reference(kCount).digest).present());
}

}  // namespace
}  // namespace ckpt::store
