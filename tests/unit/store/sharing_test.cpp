// A version that is shared with another application.
#include <cerrno>
#include <utility>

#include "store_fixture.h"

namespace ckpt::store {
namespace {

int calls_left = 0;

int fail_after_some(int old_directory, const char* old_path, int new_directory, const char* new_path,
                    int flags) {
  if (calls_left-- > 0) return ::linkat(old_directory, old_path, new_directory, new_path, flags);
  errno = EXDEV;
  return -1;
}

class SharingTest : public StoreTest {
 protected:
  SharingTest() {
    auto writer = application_->begin(0, Base::kEmpty);
    for (std::uint64_t page = 0; page < 40; ++page) writer->put(1, page, page_of(page));
    first_ = commit(*writer);
    second_ = commit_change(*application_, first_, 7);
    copy_ = store_->create_application("copy");
  }

  Version commit_change(Application& application, Version parent, std::uint64_t page) {
    auto writer = application.begin(parent, Base::kParent);
    writer->put(1, page, page_of(1000 + page));
    return commit(*writer);
  }

  static std::uintmax_t names_of(const Application& application, const std::string& file) {
    return std::filesystem::hard_link_count(application.path() + "/" + file);
  }

  static Model whole(const Application& application, Version version) {
    return content_of(*application.open(version), {1});
  }

  Version first_ = 0;
  Version second_ = 0;
  std::unique_ptr<Application> copy_;
};

TEST_F(SharingTest, HasTheSameNumberAndContent) {
  ASSERT_TRUE(copy_->share(*application_, second_));
  ASSERT_EQ(copy_->versions().size(), 1U);
  EXPECT_EQ(copy_->versions().front().description.version, second_);
  EXPECT_EQ(whole(*copy_, second_), whole(*application_, second_));
  EXPECT_EQ(copy_->verify().sound, std::vector<Version>{second_});
  EXPECT_EQ(names_of(*copy_, "v0000000001.dead"), 2U);
  EXPECT_EQ(names_of(*copy_, "v0000000002.ckpt"), 2U);
}

TEST_F(SharingTest, OutlivesTheOriginal) {
  ASSERT_TRUE(copy_->share(*application_, second_));
  Model expected = whole(*copy_, second_);
  application_.reset();
  store_->remove_application("app");
  EXPECT_EQ(whole(*copy_, second_), expected);
  EXPECT_EQ(names_of(*copy_, "v0000000001.dead"), 1U);
}

TEST_F(SharingTest, GoesItsOwnWay) {
  ASSERT_TRUE(copy_->share(*application_, second_));
  Version ours = commit_change(*copy_, second_, 8);
  Version theirs = commit_change(*application_, second_, 9);
  EXPECT_EQ(ours, 3U);
  EXPECT_EQ(theirs, 3U);
  EXPECT_EQ(whole(*copy_, ours).at(1).at(8), page_of(1008));
  EXPECT_EQ(whole(*application_, theirs).at(1).at(9), page_of(1009));
  copy_->remove(second_);
  EXPECT_EQ(whole(*application_, second_).at(1).at(7), page_of(1007));
  EXPECT_EQ(copy_->verify().sound, std::vector<Version>{ours});
}

// Its other name keeps the space.
TEST_F(SharingTest, IsNotMadeSmaller) {
  auto writer = application_->begin(0, Base::kEmpty);
  for (std::uint64_t page = 0; page < 100; ++page) writer->put(1, page, page_of(5000 + page));
  Version large = commit(*writer);
  auto next = application_->begin(large, Base::kParent);
  next->keep_only(1, std::vector<PageRun>{{.first_page = 0, .page_count = 2}});
  Version small = commit(*next);
  ASSERT_TRUE(copy_->share(*application_, small));
  EXPECT_EQ(copy_->reclaim().segments, 0U);
  application_->remove(large);
  EXPECT_EQ(application_->reclaim().segments, 0U);
  application_.reset();
  store_->remove_application("app");
  EXPECT_EQ(copy_->reclaim().segments, 1U);
  EXPECT_EQ(copy_->verify().sound, std::vector<Version>{small});
}

TEST_F(SharingTest, LeavesNothingWhereItCannotBeDone) {
  for (calls_left = 0; calls_left < 2; ++calls_left) {
    int before = calls_left;
    system_calls().linkat = fail_after_some;
    EXPECT_FALSE(copy_->share(*application_, second_));
    calls_left = before;
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(copy_->path()))
      files += entry.path().filename() == ".lock" ? 0 : 1;
    EXPECT_EQ(files, 0U);
  }
}

TEST_F(SharingTest, OnlyIntoAnEmptyApplication) {
  ASSERT_TRUE(copy_->share(*application_, first_));
  EXPECT_FALSE(copy_->share(*application_, second_));
  EXPECT_EQ(copy_->versions().size(), 1U);
}

TEST_F(SharingTest, UnknownVersionIsRefused) {
  EXPECT_NE(error_of([&] { copy_->share(*application_, 9); }).find("no version 9"), std::string::npos);
}

}  // namespace
}  // namespace ckpt::store
