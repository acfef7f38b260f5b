// Space of removed versions comes back, and what lives in their segments stays readable.
#include <fcntl.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

constexpr std::uint64_t kPagesOfFirst = 512;

class Reclaim : public StoreTest {
 protected:
  // kPagesOfFirst pages in the first version; the second has new content for all but one in `one_in`.
  void make_versions(std::uint64_t one_in, const WriteOptions& options = {}) {
    auto writer = application_->begin(0, Base::kEmpty, options);
    for (std::uint64_t page = 0; page < kPagesOfFirst; ++page) writer->put(0, page, page_of(page));
    first_ = commit(*writer);
    writer = application_->begin(first_, Base::kParent, options);
    for (std::uint64_t page = 0; page < kPagesOfFirst; ++page) {
      if (page % one_in != 0) writer->put(0, page, page_of(kPagesOfFirst + page));
    }
    second_ = commit(*writer);
    before_ = content(second_);
  }

  std::uint64_t disk_bytes(const std::string& file) {
    struct stat status {};
    EXPECT_EQ(::stat(path_of(file).c_str(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }

  Version first_ = 0;
  Version second_ = 0;
  Model before_;
};

TEST_F(Reclaim, DeadPagesAreGivenBack) {
  make_versions(16);
  application_->remove(first_);
  std::uint64_t before = disk_bytes("v0000000001.dead");
  Reclaimed reclaimed = application_->reclaim();
  EXPECT_EQ(reclaimed.segments, 1U);
  EXPECT_GT(reclaimed.bytes_freed, kPagesOfFirst * kPageBytes * 3 / 4);
  EXPECT_LE(reclaimed.bytes_written, 2 * reclaimed.bytes_freed);
  EXPECT_EQ(disk_bytes("v0000000001.dead"), before - reclaimed.bytes_freed);
  EXPECT_EQ(content(second_), before_);
  EXPECT_EQ(application_->verify().sound, std::vector<Version>{second_});
  EXPECT_EQ(application_->reclaim().segments, 0U);
}

TEST_F(Reclaim, WhatMostlyLivesIsLeftAlone) {
  make_versions(1);
  application_->remove(first_);
  EXPECT_EQ(application_->reclaim().segments, 0U);
  EXPECT_EQ(content(second_), before_);
}

TEST_F(Reclaim, CompressedBlocksStayWhole) {
  make_versions(64, {.compression = Compression::kLz4});
  application_->remove(first_);
  EXPECT_EQ(application_->reclaim().segments, 1U);
  EXPECT_EQ(content(second_), before_);
}

TEST_F(Reclaim, VisibleVersionsAreNotTouched) {
  make_versions(16);
  EXPECT_EQ(application_->reclaim().segments, 0U);
}

TEST_F(Reclaim, OpenReadersAndLaterVersionsGoOn) {
  make_versions(16);
  application_->remove(first_);
  auto reader = application_->open(second_);
  EXPECT_EQ(application_->reclaim().segments, 1U);
  EXPECT_EQ(content_of(*reader, {0}), before_);
  auto writer = application_->begin(second_, Base::kParent);
  writer->put(0, kPagesOfFirst, page_of(7));
  Version third = commit(*writer);
  before_[0][kPagesOfFirst] = page_of(7);
  EXPECT_EQ(content(third), before_);
}

TEST_F(Reclaim, WaitsForNobody) {
  make_versions(16);
  application_->remove(first_);
  auto writer = application_->begin(second_, Base::kParent);
  EXPECT_NE(error_of([&] { application_->reclaim(); }).find("being written"), std::string::npos);
}

TEST_F(Reclaim, DamageElsewhereStopsIt) {
  make_versions(16);
  application_->remove(first_);
  struct stat status {};
  ASSERT_EQ(::stat(path_of("v0000000002.ckpt").c_str(), &status), 0);
  UniqueFd fd(::open(path_of("v0000000002.ckpt").c_str(), O_WRONLY));
  ASSERT_EQ(::pwrite(fd.get(), "x", 1, status.st_size - 8), 1);
  EXPECT_NE(error_of([&] { application_->reclaim(); }).find("damaged"), std::string::npos);
}

}  // namespace
}  // namespace ckpt::store
