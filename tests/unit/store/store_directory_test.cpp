// The store's directories: names, owners, permissions, links.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "store/system_calls.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

using StoreDirectory = StoreTest;
using Names = std::vector<std::string>;

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777U;
}

TEST_F(StoreDirectory, everything_is_private_to_the_user) {
  mode_t old = umask(0);
  Store store = Store::open(directory_ + "/a/b/c", true);
  auto application = store.create_application("x");
  VersionDescription description;
  application->begin(0, Base::kEmpty)->commit(description, {});
  umask(old);
  EXPECT_EQ(mode_of(directory_ + "/a"), 0700U);
  EXPECT_EQ(mode_of(directory_ + "/a/b/c"), 0700U);
  EXPECT_EQ(mode_of(directory_ + "/a/b/c/x"), 0700U);
  EXPECT_EQ(mode_of(directory_ + "/a/b/c/x/v0000000001.ckpt"), 0600U);
  EXPECT_EQ(mode_of(directory_ + "/a/b/c/x/.lock"), 0600U);
}

TEST_F(StoreDirectory, missing_store_is_created_only_on_request) {
  EXPECT_NE(error_of([&] { Store::open(directory_ + "/none", false); }).find("cannot open store"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/none"));
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_THROW(Store::open(directory_ + "/file", true), Error);
}

TEST_F(StoreDirectory, directories_writable_by_others_are_refused) {
  chmod(store_->path().c_str(), 0770);
  EXPECT_NE(error_of([&] { Store::open(store_->path(), true); }).find("writable by others"),
            std::string::npos);
  chmod(store_->path().c_str(), 0755);
  Store store = Store::open(store_->path(), true);
  chmod(application_->path().c_str(), 0702);
  EXPECT_NE(error_of([&] { store.application("app"); }).find("writable by others"), std::string::npos);
}

TEST_F(StoreDirectory, segments_writable_by_others_are_refused) {
  commit_page(0, 1);
  chmod(path_of("v0000000001.ckpt").c_str(), 0620);
  EXPECT_NE(error_of([&] { application_->open(1); }).find("writable by others"), std::string::npos);
  EXPECT_TRUE(versions().empty());
  EXPECT_EQ(application_->damaged().size(), 1U);
}

// fstat as if everything belonged to somebody else: also shown without root.
int fstat_of_another_user(int fd, struct stat* status) {
  int result = fstat(fd, status);
  status->st_uid += 1;
  return result;
}

TEST_F(StoreDirectory, files_of_another_user_are_refused) {
  commit_page(0, 1);
  system_calls().fstat = fstat_of_another_user;
  std::string store_error = error_of([&] { Store::open(store_->path(), true); });
  std::string application_error = error_of([&] { store_->application("app"); });
  std::string segment_error = error_of([&] { application_->open(1); });
  system_calls() = kRealCalls;
  for (const std::string& error : {store_error, application_error, segment_error}) {
    EXPECT_NE(error.find("belongs to user"), std::string::npos) << error;
  }
}

TEST_F(StoreDirectory, symbolic_links_below_the_store_are_refused) {
  std::filesystem::create_directory_symlink("app", store_->path() + "/link");
  EXPECT_THROW(store_->application("link"), Error);
  EXPECT_THROW(store_->create_application("link"), Error);
  EXPECT_FALSE(store_->contains("link"));
  EXPECT_EQ(store_->applications(), Names{"app"});
  std::filesystem::create_directory_symlink(store_->path(), directory_ + "/way");
  EXPECT_TRUE(Store::open(directory_ + "/way", false).contains("app"));
}

TEST_F(StoreDirectory, only_valid_names_are_applications) {
  for (const char* name : {"zeta", "A.b_c+d-e", "0"}) store_->create_application(name);
  std::filesystem::create_directory(store_->path() + "/.hidden");
  std::filesystem::create_directory(store_->path() + "/with space");
  std::ofstream(store_->path() + "/file") << "x";
  EXPECT_EQ(store_->applications(), (Names{"0", "A.b_c+d-e", "app", "zeta"}));
  EXPECT_NO_THROW(Store::check_name(std::string(200, 'a')));
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("-x"),
        std::string(201, 'a'), std::string("a\0b", 3), std::string("\xc3\xa4"), std::string("a@1")}) {
    EXPECT_THROW(Store::check_name(name), Error) << name;
    EXPECT_THROW(store_->create_application(name), Error) << name;
    EXPECT_FALSE(store_->contains(name)) << name;
  }
}

TEST_F(StoreDirectory, unknown_application_is_named) {
  EXPECT_NE(error_of([&] { store_->application("other"); }).find("no application 'other'"),
            std::string::npos);
  EXPECT_THROW(store_->remove_application("other"), Error);
}

TEST_F(StoreDirectory, removed_application_leaves_nothing) {
  commit_page(0, 1);
  std::filesystem::create_directories(path_of("run/deep"));
  std::ofstream(path_of("run/deep/state")) << "x";
  std::filesystem::create_symlink("/etc/passwd", path_of("run/link"));
  // As a removal leaves it that was interrupted.
  std::filesystem::create_directories(store_->path() + "/.removed-1-old/sub");
  store_->remove_application("app");
  EXPECT_TRUE(std::filesystem::is_empty(store_->path()));
  EXPECT_TRUE(std::filesystem::exists("/etc/passwd"));
  EXPECT_EQ(store_->create_application("app")->versions().size(), 0U);
}

TEST_F(StoreDirectory, other_files_in_an_application_are_ignored) {
  commit_page(0, 1);
  for (const char* name : {"control.sock", "run.json", "v1.ckpt", "v00000000001.ckpt", "v0000000000.ckpt",
                           "v000000000x.ckpt", "v0000000002.ckpt.bak", "v99999999999999999999.ckpt"}) {
    std::ofstream(path_of(name)) << "x";
  }
  EXPECT_EQ(versions(), std::vector<Version>{1});
  EXPECT_TRUE(application_->damaged().empty());
  EXPECT_EQ(commit_page(1, 2), 2U);
}

}  // namespace
}  // namespace ckpt::store
