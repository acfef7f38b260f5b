#include "base/file_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ckpt {
namespace {

class FileIo : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ckpt-file-io.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  static std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span<const char>(text.data(), text.size()));
  }

  std::string directory_;
};

TEST_F(FileIo, OpensCloseOnExec) {
  UniqueFd fd = open_or_throw(path("a"), O_CREAT | O_RDWR, 0600);
  EXPECT_EQ(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(FileIo, NamesThePathThatCannotBeOpened) {
  try {
    open_or_throw(path("missing"), O_RDONLY);
    FAIL() << "a missing file was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ENOENT);
    EXPECT_NE(std::string(error.what()).find(path("missing")), std::string::npos);
  }
}

TEST_F(FileIo, WritesAtAnOffsetAndReadsBack) {
  UniqueFd fd = open_or_throw(path("a"), O_CREAT | O_RDWR, 0600);
  pwrite_all(fd.get(), bytes("checkpoint"), 5, "a");
  std::array<std::byte, 10> content{};
  pread_exactly(fd.get(), content, 5, "a");
  EXPECT_TRUE(std::ranges::equal(content, bytes("checkpoint")));
}

TEST_F(FileIo, SaysWhereAFileEndsTooEarly) {
  UniqueFd fd = open_or_throw(path("a"), O_CREAT | O_RDWR, 0600);
  pwrite_all(fd.get(), bytes("12345"), 0, "a");
  std::array<std::byte, 8> content{};
  try {
    pread_exactly(fd.get(), content, 2, "the segment");
    FAIL() << "read past the end";
  } catch (const Error& error) {
    std::string message = error.what();
    EXPECT_NE(message.find("the segment"), std::string::npos) << message;
    EXPECT_NE(message.find('5'), std::string::npos) << message;
  }
}

TEST_F(FileIo, FailedWriteThrowsWithItsErrno) {
  UniqueFd fd = open_or_throw("/dev/full", O_WRONLY);
  try {
    pwrite_all(fd.get(), bytes("x"), 0, "/dev/full");
    FAIL() << "/dev/full took a byte";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ENOSPC);
  }
}

TEST_F(FileIo, ReadsWholeFilesLargerThanItsBuffer) {
  std::string content(100'000, 'x');
  content.back() = 'y';
  UniqueFd fd = open_or_throw(path("a"), O_CREAT | O_RDWR, 0600);
  pwrite_all(fd.get(), bytes(content), 0, "a");
  EXPECT_EQ(read_file(path("a")), content);
}

TEST_F(FileIo, ReadsProcFilesThatReportNoSize) {
  EXPECT_NE(read_file("/proc/self/status").find("Pid:"), std::string::npos);
}

TEST_F(FileIo, ReadsLinksOfAnyLength) {
  for (std::size_t length : {1U, 255U, 256U, 257U, 4000U}) {
    std::string target(length, 't');
    std::string link = path("link" + std::to_string(length));
    ASSERT_EQ(symlink(target.c_str(), link.c_str()), 0);
    EXPECT_EQ(read_link(link), target);
  }
}

TEST_F(FileIo, ReadingALinkThatIsNoneThrows) { EXPECT_THROW(read_link(directory_), Error); }

}  // namespace
}  // namespace ckpt
