// Removing versions: any of them, at any time, without hurting the others; numbers are never used twice; what
// nothing refers to is deleted.
#include <random>

#include "store/evacuation.h"
#include "store/retention.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

using Removal = StoreTest;
using Names = std::vector<std::string>;

TEST_F(Removal, removed_version_is_gone_while_its_pages_stay) {
  auto writer = application_->begin(0, Base::kEmpty);
  writer->put(0, 1, page_of(1));
  writer->put(0, 2, page_of(2));
  Version first = commit(*writer);
  Version second = commit_page(first, 3);
  application_->remove(first);
  EXPECT_EQ(versions(), (std::vector<Version>{second}));
  EXPECT_NE(error_of([&] { application_->open(first); }).find("has no version 1"), std::string::npos);
  EXPECT_NE(error_of([&] { application_->remove(first); }).find("has no version 1"), std::string::npos);
  EXPECT_NE(error_of([&] { application_->begin(first, Base::kParent); }).find("has no version 1"),
            std::string::npos);
  EXPECT_EQ(content(second), (Model{{0, {{1, page_of(3)}, {2, page_of(2)}}}}));
  EXPECT_EQ(files(), (Names{"v0000000001.dead", "v0000000002.ckpt"}));
  application_->remove(second);
  EXPECT_EQ(files(), (Names{"v0000000002.used"}));
}

TEST_F(Removal, numbers_are_not_used_again) {
  Version first = commit_page(0, 1);
  Version second = commit_page(first, 2);
  application_->remove(second);
  Version third = commit_page(first, 3);
  EXPECT_EQ(third, second + 1);
  application_->remove(first);
  application_->remove(third);
  EXPECT_EQ(files(), (Names{"v0000000003.used"}));
  EXPECT_EQ(
      store_->application("app")->begin(0, Base::kEmpty)->commit(*std::make_unique<VersionDescription>(), {}),
      4U);
}

TEST_F(Removal, open_reader_outlives_removal) {
  Version first = commit_page(0, 1);
  auto reader = application_->open(first);
  application_->remove(first);
  EXPECT_EQ(content_of(*reader, {0}), (Model{{0, {{1, page_of(1)}}}}));
}

TEST_F(Removal, writer_keeps_the_segments_of_a_parent_that_is_removed_meanwhile) {
  Version first = commit_page(0, 1);
  auto writer = application_->begin(first, Base::kParent);
  writer->put(0, 2, page_of(2));
  store_->application("app")->remove(first);
  EXPECT_EQ(versions(), std::vector<Version>{});
  EXPECT_EQ(content(commit(*writer)), (Model{{0, {{1, page_of(1)}, {2, page_of(2)}}}}));
}

TEST_F(Removal, damaged_version_can_be_removed_and_holds_back_deletion_until_then) {
  Version first = commit_page(0, 1);
  Version second = commit_page(first, 2);
  Version third = commit_page(second, 3);
  std::filesystem::resize_file(path_of("v0000000002.ckpt"), 100);
  application_->remove(first);
  EXPECT_EQ(files(), (Names{"v0000000001.dead", "v0000000002.ckpt", "v0000000003.ckpt"}));
  EXPECT_EQ(versions(), std::vector<Version>{third});
  EXPECT_EQ(application_->damaged().size(), 1U);
  application_->remove(second);
  EXPECT_EQ(files(), (Names{"v0000000003.ckpt"}));
  EXPECT_TRUE(application_->damaged().empty());
}

TEST_F(Removal, retention_keeps_the_newest_and_the_last_of_each_earlier_run) {
  for (const char* run : {"a", "a", "b", "b", "c", "c", "c", "c"})
    commit_page(versions().empty() ? 0 : versions().back(), 1, run);
  EXPECT_EQ(application_->retain({.last = 2}, "c"), (std::vector<Version>{1, 3, 5, 6}));
  EXPECT_EQ(versions(), (std::vector<Version>{2, 4, 7, 8}));
  EXPECT_EQ(application_->retain({.last = 2}, "c"), std::vector<Version>{});
  EXPECT_EQ(application_->retain({.last = 1}, "d"), (std::vector<Version>{7}));
}

TEST_F(Removal, long_runs_with_retention_stay_small_in_files_and_bytes) {
  constexpr std::uint64_t kPages = 2000;
  std::mt19937_64 random(7);
  Model model;
  Version last = 0;
  for (int i = 0; i < 500; ++i) {
    auto writer = application_->begin(last, Base::kParent);
    for (std::uint64_t n = 0; n < (last == 0 ? kPages : 10); ++n) {
      std::uint64_t number = last == 0 ? n : random() % kPages;
      model[0][number] = page_of(random());
      writer->put(0, number, model[0][number]);
    }
    last = commit(*writer);
    writer.reset();
    application_->retain({.last = 3}, "run");
  }
  EXPECT_EQ(content(last), model);
  EXPECT_EQ(versions().size(), 3U);
  EXPECT_LE(files().size(), Evacuation::kMaxSegments + 8);
  std::uintmax_t bytes = 0;
  for (const std::string& file : files()) bytes += std::filesystem::file_size(path_of(file));
  EXPECT_LE(bytes, 5 * kPages * kPageBytes);
}

TEST_F(Removal, pages_of_many_segments_are_gathered_also_when_everything_is_put_again) {
  Model model;
  Version last = 0;
  for (std::uint64_t i = 0; i < 450; ++i) {
    auto writer = application_->begin(last, i % 2 == 0 ? Base::kParent : Base::kEmpty);
    model[0][i * 70] = page_of(i + 1);
    for (const auto& [number, page] : model[0]) writer->put(0, number, page);
    VersionDescription description;
    last = writer->commit(description, {});
    ASSERT_EQ(description.stats.pages_written, 1U);
    ASSERT_EQ(description.stats.pages_skipped_parent, i);
    writer.reset();
    application_->retain({.last = 1}, "");
    ASSERT_LE(files().size(), Evacuation::kMaxSegments + 2);
  }
  EXPECT_EQ(content(last), model);
}

}  // namespace
}  // namespace ckpt::store
