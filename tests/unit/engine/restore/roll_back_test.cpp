#include "engine/restore/roll_back.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "engine/capture/written_files.h"
#include "support/temporary_directory.h"

namespace ckpt::engine {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void write(const std::string& path, const std::string& text, std::ios::openmode mode = std::ios::trunc) {
  std::ofstream(path, std::ios::binary | mode) << text;
}

// A program that has files open, its checkpoint, and what happens to the files afterwards.
class RollBack : public testing::Test {
 protected:
  RollBack()
      : store_(store::Store::open(path("store"), true)), application_(store_.create_application("app")) {
    std::filesystem::create_directory(path("files"));
    checkpoint_.process = std::make_unique<image::ProcessT>();
  }

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  std::string file(const std::string& name) const { return path("files/" + name); }

  void opened(const std::string& name, int flags) {
    struct stat status {};
    ASSERT_EQ(::stat(file(name).c_str(), &status), 0);
    image::RegularFileDetailT detail;
    detail.path = file(name);
    detail.device = status.st_dev;
    detail.inode = status.st_ino;
    auto description = std::make_unique<image::DescriptionT>();
    description->status_flags = static_cast<std::uint32_t>(flags);
    description->detail.Set(std::move(detail));
    checkpoint_.process->descriptions.push_back(std::move(description));
  }

  void save() {
    auto writer = application_->begin(0, store::Base::kEmpty);
    ObjectTable objects;
    std::vector<UniqueFd> to_sync;
    SaveContext context{
        .pid = 0, .writer = *writer, .objects = objects, .notes = notes_, .files_to_sync = to_sync};
    save_written_files(context, checkpoint_);
    store::VersionDescription description;
    reader_ = application_->open(writer->commit(description, {}));
  }

  std::vector<std::string> roll_back() { return roll_back_files(checkpoint_, *reader_, "app@1"); }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path("files")))
      found.push_back(entry.path().filename());
    std::ranges::sort(found);
    return found;
  }

  tests::TemporaryDirectory directory_;
  store::Store store_;
  std::unique_ptr<store::Application> application_;
  image::CheckpointT checkpoint_;
  std::vector<std::string> notes_;
  std::unique_ptr<store::CheckpointReader> reader_;
};

TEST_F(RollBack, OverwrittenFileIsPutBackInPlace) {
  std::string before = "begin" + std::string(3 << 20, '\0') + "end";
  write(file("data"), before);
  opened("data", O_RDWR);
  save();
  struct stat first {};
  ASSERT_EQ(::stat(file("data").c_str(), &first), 0);
  std::string after = std::string(100'000, 'x') + before + "more";
  write(file("data"), after);
  EXPECT_THAT(roll_back(), SizeIs(1));
  EXPECT_EQ(content_of(file("data")), before);
  EXPECT_EQ(content_of(file("app@1-replaced.data")), after);
  struct stat second {};
  ASSERT_EQ(::stat(file("data").c_str(), &second), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);
  EXPECT_EQ(first.st_mtim.tv_sec, second.st_mtim.tv_sec);
  EXPECT_THAT(roll_back(), IsEmpty());
}

TEST_F(RollBack, WhatIsUnchangedIsLeftAlone) {
  write(file("data"), "same");
  write(file("log"), "same");
  write(file("read"), "one");
  opened("data", O_WRONLY);
  opened("log", O_WRONLY | O_APPEND);
  opened("read", O_RDONLY);
  save();
  write(file("data"), "same");
  write(file("read"), "two");
  EXPECT_THAT(roll_back(), IsEmpty());
  EXPECT_EQ(names(), (std::vector<std::string>{"data", "log", "read"}));
  EXPECT_EQ(content_of(file("read")), "two");
}

TEST_F(RollBack, AppendedFileIsCutOff) {
  write(file("log"), "one\n");
  opened("log", O_WRONLY | O_APPEND);
  save();
  EXPECT_EQ(checkpoint_.process->written_files.at(0)->space, 0U);
  write(file("log"), "two\n", std::ios::app);
  EXPECT_THAT(roll_back(), SizeIs(1));
  EXPECT_EQ(content_of(file("log")), "one\n");
  EXPECT_EQ(content_of(file("app@1-replaced.log")), "two\n");
  write(file("log"), "three\n", std::ios::app);
  EXPECT_THAT(roll_back(), SizeIs(1));
  EXPECT_EQ(content_of(file("app@1-replaced.log.2")), "three\n");
}

TEST_F(RollBack, OneOtherWriterMakesItAWholeFile) {
  write(file("log"), "one\n");
  opened("log", O_WRONLY | O_APPEND);
  opened("log", O_RDWR);
  save();
  write(file("log"), "");
  EXPECT_THAT(roll_back(), SizeIs(1));
  EXPECT_EQ(content_of(file("log")), "one\n");
}

TEST_F(RollBack, AppendedFileThatLostContentIsNamed) {
  write(file("log"), "one\n");
  opened("log", O_WRONLY | O_APPEND);
  save();
  auto message = [&] {
    try {
      roll_back();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  write(file("log"), "on");
  EXPECT_THAT(message(), HasSubstr("has 2 bytes"));
  std::filesystem::remove(file("log"));
  EXPECT_THAT(message(), HasSubstr("is gone"));
}

TEST_F(RollBack, MissingFileIsMadeAgain) {
  write(file("data"), "content");
  ASSERT_EQ(::chmod(file("data").c_str(), 0640), 0);
  opened("data", O_RDWR);
  save();
  std::filesystem::remove_all(path("files"));
  EXPECT_THAT(roll_back(), SizeIs(1));
  EXPECT_EQ(content_of(file("data")), "content");
  struct stat status {};
  ASSERT_EQ(::stat(file("data").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0640U);
}

TEST_F(RollBack, FilesBesideItThatAreNewAreMovedAside) {
  write(file("data"), "content");
  write(file("data-old"), "old");
  write(file("other"), "other");
  opened("data", O_RDWR);
  save();
  write(file("data-journal"), "journal");
  write(file("other-new"), "new");
  EXPECT_THAT(roll_back(), SizeIs(1));
  EXPECT_EQ(names(), (std::vector<std::string>{"app@1-replaced.data-journal", "data", "data-old", "other",
                                               "other-new"}));
}

TEST_F(RollBack, FileThatWasReplacedBeforeTheCheckpointIsNotSaved) {
  write(file("data"), "content");
  opened("data", O_RDWR);
  write(file("new"), "other");
  std::filesystem::rename(file("new"), file("data"));
  save();
  EXPECT_THAT(checkpoint_.process->written_files, IsEmpty());
  EXPECT_THAT(notes_, SizeIs(1));
}

}  // namespace
}  // namespace ckpt::engine
