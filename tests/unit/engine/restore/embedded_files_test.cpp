// Files that are part of a checkpoint although the program only reads them, and those that are not and
// change.
#include "engine/restore/embedded_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "engine/capture/embedded_files.h"
#include "engine/capture/file_identity.h"
#include "engine/restore/changed_files.h"
#include "engine/restore/path_changes.h"
#include "support/temporary_directory.h"

namespace ckpt::engine {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class EmbeddedFiles : public testing::Test {
 protected:
  EmbeddedFiles()
      : store_(store::Store::open(path("store"), true)), application_(store_.create_application("app")) {
    checkpoint_.process = std::make_unique<image::ProcessT>();
    checkpoint_.process->executable_file = std::make_unique<image::MappedFileT>();
    std::filesystem::create_directory(path("files"));
  }

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  std::string file(const std::string& name) const { return path("files/" + name); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(file(name)) << text; }
  image::ProcessT& process() { return *checkpoint_.process; }

  void mapped(const std::string& name, bool written = false) {
    process().mapped_files.push_back(identities_.describe(file(name)));
    process().mapped_files.back()->written = written;
  }

  void opened(const std::string& name, int flags) {
    std::unique_ptr<image::MappedFileT> described = identities_.describe(file(name));
    image::RegularFileDetailT detail;
    detail.path = described->path;
    detail.device = described->device;
    detail.inode = described->inode;
    detail.size = described->size;
    detail.mtime_ns = described->mtime_ns;
    auto description = std::make_unique<image::DescriptionT>();
    description->status_flags = static_cast<std::uint32_t>(flags);
    description->detail.Set(std::move(detail));
    process().descriptions.push_back(std::move(description));
  }

  void list() { list_embedded_files(objects_, checkpoint_); }
  void store() {
    auto writer = application_->begin(0, store::Base::kEmpty);
    store_embedded_files(*writer, process(), notes_);
    store::VersionDescription description;
    reader_ = application_->open(writer->commit(description, {}));
  }

  tests::TemporaryDirectory directory_;
  store::Store store_;
  std::unique_ptr<store::Application> application_;
  FileIdentities identities_;
  ObjectTable objects_;
  image::CheckpointT checkpoint_;
  std::vector<std::string> notes_;
  std::unique_ptr<store::CheckpointReader> reader_;
};

TEST_F(EmbeddedFiles, AreThoseThatAreOnlyRead) {
  for (const char* name : {"library", "shared", "data", "log", "both"}) write(name, name);
  mapped("library");
  mapped("shared", true);
  mapped("both");
  opened("data", O_RDONLY);
  opened("log", O_WRONLY);
  opened("both", O_RDONLY);
  list();
  std::vector<std::string> names;
  for (const auto& embedded : process().embedded_files) names.push_back(embedded->path);
  EXPECT_THAT(names, ElementsAre(file("library"), file("both"), file("data")));
}

TEST_F(EmbeddedFiles, AreMadeWhereTheyAreGone) {
  std::string content = "begin" + std::string(3 << 20, '\0') + "end";
  write("data", content);
  write("library", "code");
  ASSERT_EQ(::chmod(file("data").c_str(), 0750), 0);
  mapped("data");
  mapped("library");
  list();
  store();
  make_embedded_files(process(), *reader_, notes_);
  EXPECT_THAT(notes_, IsEmpty()) << "all are there";
  std::filesystem::remove_all(path("files"));
  make_embedded_files(process(), *reader_, notes_);
  EXPECT_THAT(notes_, ElementsAre(AllOf(HasSubstr(file("data")), HasSubstr("and 1 more"))));
  EXPECT_EQ(content_of(file("data")), content);
  EXPECT_EQ(std::filesystem::status(file("data")).permissions(), std::filesystem::perms(0750));
  check_identity(*process().mapped_files.at(0));  // by size and time
  check_identity(*process().mapped_files.at(1));
}

TEST_F(EmbeddedFiles, AreMadeElsewhereOnRequest) {
  write("data", "content");
  mapped("data");
  list();
  store();
  change_paths(checkpoint_, std::vector<PathChange>{{path("files"), path("other/place")}});
  make_embedded_files(process(), *reader_, notes_);
  EXPECT_EQ(content_of(path("other/place/data")), "content");
}

TEST_F(EmbeddedFiles, ThatCannotBeMadeAreNamed) {
  write("data", "content");
  mapped("data");
  list();
  store();
  std::filesystem::remove_all(path("files"));
  std::ofstream(path("files")) << "a file where the directory was";
  try {
    make_embedded_files(process(), *reader_, notes_);
    FAIL() << "made a file below a file";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr(file("data")), HasSubstr("--path OLD=NEW")));
  }
}

TEST_F(EmbeddedFiles, ThatChangedMeanwhileAreLeftOut) {
  write("data", "content");
  write("gone", "content");
  write("same", "content");
  for (const char* name : {"data", "gone", "same"}) mapped(name);
  list();
  write("data", "other content");
  std::filesystem::remove(file("gone"));
  store();
  EXPECT_THAT(notes_, ElementsAre(HasSubstr(file("data")), HasSubstr(file("gone"))));
  ASSERT_THAT(process().embedded_files, SizeIs(1));
  EXPECT_EQ(process().embedded_files[0]->path, file("same"));
}

TEST_F(EmbeddedFiles, OpenOnesThatChangedAreTold) {
  write("log", "one");
  write("data", "content");
  write("rolled", "content");
  opened("log", O_WRONLY | O_APPEND);
  opened("log", O_RDONLY);
  opened("data", O_RDONLY);
  opened("rolled", O_RDWR);
  process().written_files.push_back(std::make_unique<image::WrittenFileT>());
  process().written_files[0]->path = file("rolled");
  EXPECT_EQ(changed_files_note(process(), false), "");
  write("log", "one two");
  write("rolled", "other");
  EXPECT_THAT(changed_files_note(process(), true),
              testing::EndsWith(": " + file("log") + " (3 bytes then, 7 now)"));
  EXPECT_THAT(changed_files_note(process(), false), HasSubstr(file("rolled") + " (7 bytes then, 5 now)"));
  std::filesystem::last_write_time(file("data"),
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_THAT(changed_files_note(process(), true), HasSubstr(file("data") + " (written or replaced)"));
}

}  // namespace
}  // namespace ckpt::engine
