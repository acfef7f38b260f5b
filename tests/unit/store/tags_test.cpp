// A tagged version stays until it is untagged.
#include "store/retention.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

using Tags = StoreTest;

TEST_F(Tags, NameAVersion) {
  Version first = commit_page(0, 1);
  Version second = commit_page(first, 2);
  application_->tag(second, "good");
  application_->tag(second, "before-upgrade");
  application_->tag(first, "start");
  application_->tag(first, "start");
  EXPECT_EQ(application_->tags(),
            (std::vector<Tag>{{first, "start"}, {second, "before-upgrade"}, {second, "good"}}));
  application_->untag("good");
  EXPECT_EQ(store_->application("app")->tags(),
            (std::vector<Tag>{{first, "start"}, {second, "before-upgrade"}}));
}

TEST_F(Tags, KeepTheirVersion) {
  Version first = commit_page(0, 1);
  Version second = commit_page(first, 2);
  application_->tag(first, "good");
  EXPECT_EQ(application_->retain({.last = 1}, "run"), std::vector<Version>{});
  EXPECT_NE(error_of([&] { application_->remove(first); }).find("untag it first"), std::string::npos);
  application_->untag("good");
  EXPECT_EQ(application_->retain({.last = 1}, "run"), std::vector<Version>{first});
  EXPECT_EQ(versions(), std::vector<Version>{second});
}

TEST_F(Tags, AreRefusedWhereTheyWouldMislead) {
  Version first = commit_page(0, 1);
  Version second = commit_page(first, 2);
  application_->tag(first, "good");
  EXPECT_NE(error_of([&] { application_->tag(second, "good"); }).find("label of version 1"),
            std::string::npos);
  EXPECT_NE(error_of([&] { application_->tag(second, "17"); }).find("taken for a version"),
            std::string::npos);
  EXPECT_NE(error_of([&] { application_->tag(second, "../x"); }).find("not a name"), std::string::npos);
  EXPECT_NE(error_of([&] { application_->tag(9, "other"); }).find("has no version 9"), std::string::npos);
  EXPECT_NE(error_of([&] { application_->untag("other"); }).find("no version of 'app' is tagged"),
            std::string::npos);
}

}  // namespace
}  // namespace ckpt::store
