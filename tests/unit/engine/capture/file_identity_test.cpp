#include "engine/capture/file_identity.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A library that every program here has, for its build-id.
std::string some_library() {
  for (const char* path : {"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"}) {
    if (::access(path, R_OK) == 0) return path;
  }
  return {};
}

void set_modification_time(const std::string& path, std::time_t seconds) {
  const timespec times[2] = {{.tv_sec = seconds, .tv_nsec = 0}, {.tv_sec = seconds, .tv_nsec = 0}};
  if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) throw_errno("utimensat");
}

std::string refusal_of(const image::MappedFileT& file) {
  try {
    check_identity(file);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(FileIdentity, IsSizeAndTimeWithoutBuildId) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("data", "ten bytes.");
  set_modification_time(path, 1'000'000'000);
  auto file = FileIdentities().describe(path);
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(file->path, path);
  EXPECT_EQ(file->size, 10U);
  EXPECT_EQ(file->mtime_ns, 1'000'000'000'000'000'000);
  EXPECT_EQ(file->device, status.st_dev);
  EXPECT_EQ(file->inode, status.st_ino);
  EXPECT_THAT(file->build_id, IsEmpty());
  EXPECT_THAT(refusal_of(*file), IsEmpty());
}

TEST(FileIdentity, OfAnotherSizeOrTimeIsRefused) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("data", "ten bytes.");
  set_modification_time(path, 1'000'000'000);
  auto file = FileIdentities().describe(path);
  set_modification_time(path, 1'000'000'001);
  EXPECT_THAT(refusal_of(*file), HasSubstr(path + " has changed"));
  directory.file_with("data", "eleven byte");
  set_modification_time(path, 1'000'000'000);
  EXPECT_THAT(refusal_of(*file), HasSubstr(path + " has changed"));
  directory.file_with("data", "other byte");
  set_modification_time(path, 1'000'000'000);
  EXPECT_THAT(refusal_of(*file), IsEmpty());
}

TEST(FileIdentity, OfAMissingFileIsAnErrorThatNamesIt) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("data", "content");
  auto file = FileIdentities().describe(path);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_THAT(refusal_of(*file), testing::AllOf(HasSubstr(path), HasSubstr("ENOENT")));
  EXPECT_THROW(FileIdentities().describe(path), Error);
}

TEST(FileIdentity, IsTheBuildIdWhereverTheFileIsFromThen) {
  std::string library = some_library();
  if (library.empty()) GTEST_SKIP() << "no libc.so.6 in the usual places";
  TemporaryDirectory directory;
  std::string path = directory.file("library");
  std::filesystem::copy_file(library, path);
  auto file = FileIdentities().describe(path);
  ASSERT_THAT(file->build_id, Not(IsEmpty()));
  EXPECT_EQ(file->build_id, FileIdentities().describe(library)->build_id);
  set_modification_time(path, 1);  // the same file, installed again
  EXPECT_THAT(refusal_of(*file), IsEmpty());
  directory.file_with("library", "something else");
  EXPECT_THAT(refusal_of(*file), HasSubstr(path + " has another build-id"));
}

TEST(FileIdentity, IsReadAgainWhenTheFileChanges) {
  std::string library = some_library();
  if (library.empty()) GTEST_SKIP() << "no libc.so.6 in the usual places";
  TemporaryDirectory directory;
  std::string path = directory.file_with("library", "not a library yet");
  FileIdentities identities;
  EXPECT_THAT(identities.describe(path)->build_id, IsEmpty());
  std::filesystem::copy_file(library, path, std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(identities.describe(path)->build_id, Not(IsEmpty()));
}

// Cut off anywhere, an ELF file is still a file, with or without a build-id.
TEST(FileIdentity, OfDamagedElfFilesIsReadSafely) {
  std::string library = some_library();
  if (library.empty()) GTEST_SKIP() << "no libc.so.6 in the usual places";
  std::string content = read_file(library);
  TemporaryDirectory directory;
  for (std::size_t size :
       {std::size_t{4}, std::size_t{63}, std::size_t{64}, std::size_t{200}, std::size_t{900}}) {
    ASSERT_LT(size, content.size());
    std::string path = directory.file_with("cut", content.substr(0, size));
    auto file = FileIdentities().describe(path);
    EXPECT_EQ(file->size, size);
    EXPECT_THAT(refusal_of(*file), IsEmpty());
  }
}

}  // namespace
}  // namespace ckpt::engine
