// Every byte that a version needs is looked at, and damage is told from what is sound.
#include <fcntl.h>
#include <gmock/gmock.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include "store/application_files.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<Version> damaged_versions(const VerifyReport& report) {
  std::vector<Version> versions;
  for (const VerifyReport::Damage& damage : report.damaged) versions.push_back(damage.version);
  return versions;
}

class Verification : public StoreTest, public testing::WithParamInterface<Compression> {
 protected:
  static constexpr std::uint64_t kPages = 1500;

  // Version 1 has kPages pages; 2 replaces those that are even; 3 builds on 1 and replaces those that are
  // odd.
  Verification() {
    write(0, 0, 1);
    write(1, 0, 2);
    write(1, 1, 2);
  }

  void write(Version parent, std::uint64_t first, std::uint64_t step) {
    auto writer = application_->begin(parent, Base::kParent, {.compression = GetParam(), .level = 0});
    for (std::uint64_t i = first; i < kPages; i += step) writer->put(0, i, page_of(next_seed_++));
    commit(*writer, "run", "image of some length");
  }

  std::string path(Version version) const { return application_->path() + "/" + visible_name(version); }

  // Changes one byte; `from_end`: counted from the end of the file.
  void damage(Version version, std::uint64_t offset, bool from_end = false) {
    std::fstream file(path(version), std::ios::binary | std::ios::in | std::ios::out);
    std::uint64_t at = from_end ? std::filesystem::file_size(path(version)) - offset : offset;
    file.seekg(static_cast<std::streamoff>(at));
    char byte = static_cast<char>(file.get() ^ 0x40);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }

  std::uint64_t next_seed_ = 1;
};

TEST_P(Verification, SoundVersionsAreSound) {
  VerifyReport report = application_->verify();
  EXPECT_THAT(report.sound, ElementsAre(1, 2, 3));
  EXPECT_THAT(report.damaged, IsEmpty());
  EXPECT_THAT(report.leftovers, IsEmpty());
  EXPECT_EQ(report.pages, 2 * kPages);
  EXPECT_THAT(application_->verify({2}).sound, ElementsAre(2));
}

TEST_P(Verification, DamagedPageConcernsThoseThatNeedIt) {
  damage(1, 10);  // an even page: of version 1, and of 3, which replaced the odd ones
  VerifyReport report = application_->verify();
  EXPECT_THAT(report.sound, ElementsAre(2));
  EXPECT_THAT(damaged_versions(report), ElementsAre(1, 3));
  for (const VerifyReport::Damage& damage : report.damaged) EXPECT_THAT(damage.cause, HasSubstr(path(1)));
}

TEST_P(Verification, EveryPartOfASegmentIsLookedAt) {
  std::uint64_t size = std::filesystem::file_size(path(3));
  for (std::uint64_t at = 100; at < size; at += size / 23) {
    damage(3, at);
    VerifyReport report = application_->verify();
    // What lies between the parts is nobody's.
    if (!report.damaged.empty()) {
      EXPECT_THAT(damaged_versions(report), ElementsAre(3)) << at;
      EXPECT_THAT(report.sound, ElementsAre(1, 2)) << at;
    } else {
      EXPECT_EQ(content(3).at(0).size(), kPages) << at;
    }
    damage(3, at);
  }
  damage(3, 100, true);  // the footer
  EXPECT_THAT(damaged_versions(application_->verify()), ElementsAre(3));
}

TEST_P(Verification, MissingSegmentsAreNamed) {
  std::filesystem::remove(path(1));
  VerifyReport report = application_->verify();
  EXPECT_THAT(report.sound, IsEmpty());
  EXPECT_THAT(damaged_versions(report), ElementsAre(2, 3));
  EXPECT_THAT(report.damaged[0].cause, HasSubstr("version 1 that it needs is missing"));
}

TEST_P(Verification, WhatIsSoundSurvivesTheRemovalOfTheRest) {
  Model expected = content(2);
  damage(1, 10);
  for (Version version : damaged_versions(application_->verify())) application_->remove(version);
  std::ofstream(application_->path() + "/.tmp-v0000000009") << "left by a writer that died";
  EXPECT_THAT(application_->verify().leftovers, ElementsAre(".tmp-v0000000009"));
  application_->remove_leftovers();
  VerifyReport report = application_->verify();
  EXPECT_THAT(report.sound, ElementsAre(2));
  EXPECT_THAT(report.damaged, IsEmpty());
  EXPECT_THAT(report.leftovers, IsEmpty());
  EXPECT_EQ(content(2), expected);
}

TEST_P(Verification, FilesOfAWriterAtWorkAreNoLeftovers) {
  auto writer = application_->begin(3, Base::kParent);
  for (std::uint64_t i = 0; i < kPages; ++i) writer->put(0, i, page_of(next_seed_++));
  EXPECT_THAT(application_->verify().leftovers, IsEmpty());
  application_->remove_leftovers();
  commit(*writer);
  EXPECT_THAT(application_->verify().sound, ElementsAre(1, 2, 3, 4));
}

// Another process removes a version at the worst moment. (The table of system calls takes no state.)
std::string removed_file;

TEST_P(Verification, WhatIsRemovedOnceItHasBeenListedIsNotDamaged) {
  removed_file = path(2);
  system_calls().closedir = [](DIR* directory) {
    if (!removed_file.empty()) std::filesystem::remove(std::exchange(removed_file, ""));
    return ::closedir(directory);
  };
  VerifyReport report = application_->verify();
  EXPECT_THAT(report.sound, ElementsAre(1, 3));
  EXPECT_THAT(report.damaged, IsEmpty());
}

TEST_P(Verification, VersionThatIsRemovedWhileItIsOpenedIsAbsentAndNotDamaged) {
  removed_file = path(3);
  system_calls().openat = [](int directory, const char* file, int flags, mode_t mode) {
    if (std::string_view(file).find("v0000000001") == std::string_view::npos)
      return ::openat(directory, file, flags, mode);
    std::filesystem::remove(removed_file);  // and then nobody needs version 1 any more
    errno = ENOENT;
    return -1;
  };
  try {
    application_->open(3);
    FAIL() << "it was opened";
  } catch (const Error& error) {
    EXPECT_EQ(ENOENT, error.code());
    EXPECT_THAT(error.what(), HasSubstr("has no version 3"));
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Verification, testing::Values(Compression::kNone, Compression::kLz4),
                         [](const testing::TestParamInfo<Compression>& codec) {
                           return codec.param == Compression::kNone ? "none" : "lz4";
                         });

}  // namespace
}  // namespace ckpt::store
