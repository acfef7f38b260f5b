#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file_io.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using testing::HasSubstr;

TEST(Files, KeepOffsetAccessModeAndAppend) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "0123456789");
  auto saved = save_program([&] {
    int reader = require_fd(::open(path.c_str(), O_RDONLY), "open");
    require_equal(::lseek(put_at(reader, 10), 4, SEEK_SET), 4, "lseek");
    put_at(::open(path.c_str(), O_RDWR | O_APPEND | O_NONBLOCK), 11);
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              require(read_available(10, 3) == "456", "position of the reader");
              require_equal(::fcntl(10, F_GETFL) & O_ACCMODE, O_RDONLY, "access mode");
              int flags = ::fcntl(11, F_GETFL);
              require((flags & O_APPEND) != 0 && (flags & O_NONBLOCK) != 0, "flags of the writer");
              require_equal(::write(11, "x", 1), 1, "write");
            }));
  EXPECT_EQ("0123456789x", read_file(path));
}

TEST(Files, ShareADescriptionAfterDupAndOnlyThen) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "0123456789");
  auto saved = save_program([&] {
    put_at(::open(path.c_str(), O_RDONLY), 10);
    ::dup2(10, 20);
    ::dup2(10, 5);
    put_at(::open(path.c_str(), O_RDONLY), 6);
  });
  EXPECT_EQ(saved->descriptor(5)->description, saved->descriptor(20)->description);
  EXPECT_EQ("", look_inside(*saved, [] {
              require(same_file_description(5, 10) && same_file_description(5, 20), "shared");
              require(!same_file_description(5, 6), "not shared");
            }));
}

TEST(Files, RecordCloseOnExecButRestoreWithoutIt) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "x");
  auto saved = save_program([&] {
    put_at(::open(path.c_str(), O_RDONLY), 7);
    ::fcntl(7, F_DUPFD, 8);
    ::fcntl(7, F_SETFD, FD_CLOEXEC);
  });
  EXPECT_TRUE(saved->descriptor(7)->close_on_exec);
  EXPECT_FALSE(saved->descriptor(8)->close_on_exec);
  EXPECT_EQ("", look_inside(*saved, [] {
              require_equal(::fcntl(7, F_GETFD), 0, "7 after restore");
              require_equal(::fcntl(8, F_GETFD), 0, "8 after restore");
            }));
}

TEST(Files, SavingDoesNotMoveTheProgramsOffset) {
  TemporaryDirectory directory;
  std::string path = directory.file("gone");
  std::string offset;
  save_program(
      [&] {
        int fd = put_at(::open(path.c_str(), O_RDWR | O_CREAT, 0600), 5);
        require_equal(::pwrite(fd, "data", 4, 1 << 20), 4, "pwrite");
        require_equal(::lseek(fd, 77, SEEK_SET), 77, "lseek");
        ::unlink(path.c_str());
      },
      [&](pid_t pid) { offset = read_file("/proc/" + std::to_string(pid) + "/fdinfo/5"); });
  EXPECT_THAT(offset, HasSubstr("pos:\t77\n"));
}

TEST(Files, UnlinkedFileComesBackWithItsContent) {
  TemporaryDirectory directory;
  std::string path = directory.file("gone");
  auto saved = save_program([&] {
    int fd = put_at(::open(path.c_str(), O_RDWR | O_CREAT, 0640), 5);
    require_equal(::pwrite(fd, "begin", 5, 0), 5, "pwrite");
    require_equal(::pwrite(fd, "end", 3, (10 << 20) + 5), 3, "pwrite");
    require_equal(::lseek(fd, 2, SEEK_SET), 2, "lseek");
    put_at(::open(path.c_str(), O_RDONLY), 6);
    ::unlink(path.c_str());
  });
  ASSERT_EQ(1U, saved->checkpoint.objects.size());
  EXPECT_EQ(2U, saved->pages.page_count());
  EXPECT_EQ("", look_inside(*saved, [] {
              require(read_available(5, 3) == "gin", "position and content");
              require(read_available(6, 5) == "begin", "second description");
              struct stat status {};
              ::fstat(5, &status);
              require_equal(status.st_size, (10 << 20) + 8, "size");
              require_equal(status.st_nlink, 0, "links");
              require_equal(status.st_mode & 07777U, 0640, "mode");
              require_equal(::pwrite(5, "B", 1, 0), 1, "pwrite");
              char byte = 0;
              require_equal(::pread(6, &byte, 1, 0), 1, "pread");
              require(byte == 'B', "one and the same file");
              require(!same_file_description(5, 6), "descriptions of their own");
            }));
}

TEST(Files, TemporaryFileWithoutANameComesBack) {
  TemporaryDirectory directory;
  auto saved = save_program([&] {
    int fd = require_fd(::open(directory.file("").c_str(), O_TMPFILE | O_RDWR, 0600), "O_TMPFILE");
    require_equal(::write(put_at(fd, 5), "hello", 5), 5, "write");
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require_equal(::lseek(5, 0, SEEK_CUR), 5, "offset");
              require_equal(::lseek(5, 0, SEEK_SET), 0, "lseek");
              require(read_available(5) == "hello", "content");
            }));
}

TEST(Files, WriteOnlyUnlinkedFileIsSaved) {
  TemporaryDirectory directory;
  std::string path = directory.file("log");
  auto saved = save_program([&] {
    put_at(::open(path.c_str(), O_WRONLY | O_CREAT, 0600), 5);
    require_equal(::write(5, "hello", 5), 5, "write");
    ::unlink(path.c_str());
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require_equal(::fcntl(5, F_GETFL) & O_ACCMODE, O_WRONLY, "access mode");
              require_equal(::lseek(5, 0, SEEK_END), 5, "size");
            }));
}

TEST(Files, ANameThatEndsInDeletedIsAName) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("x (deleted)", "real");
  auto saved = save_program([&] { put_at(::open(path.c_str(), O_RDONLY), 5); });
  EXPECT_EQ(path, saved->description(5).detail.AsRegularFileDetail()->path);
  EXPECT_TRUE(saved->checkpoint.objects.empty());
  EXPECT_EQ("", look_inside(*saved, [] { require(read_available(5) == "real", "content"); }));
}

TEST(Files, AReplacedFileKeepsTheContentThatIsOpen) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "old");
  auto saved = save_program([&] {
    put_at(::open(path.c_str(), O_RDONLY), 5);
    std::filesystem::rename(directory.file_with("new", "new"), path);
  });
  EXPECT_EQ("", look_inside(*saved, [] { require(read_available(5) == "old", "content"); }));
}

TEST(Files, OpenForWritingAreSyncedOnceEach) {
  TemporaryDirectory directory;
  std::string written = directory.file_with("written", "x");
  std::string read_only = directory.file_with("read", "x");
  auto saved = save_program([&] {
    ::open(written.c_str(), O_WRONLY);
    ::open(written.c_str(), O_RDWR);
    ::open(read_only.c_str(), O_RDONLY);
  });
  ASSERT_EQ(1U, saved->files_to_sync.size());
  EXPECT_EQ(0, ::fdatasync(saved->files_to_sync[0].get()));
}

TEST(Files, PathOnlyDescriptorsComeBack) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "x");
  auto saved = save_program([&] { put_at(::open(path.c_str(), O_PATH), 5); });
  EXPECT_EQ("", look_inside(*saved, [&] {
              require((::fcntl(5, F_GETFL) & O_PATH) != 0, "O_PATH");
              require(read_link("/proc/self/fd/5") == path, "path");
            }));
}

TEST(Directories, ContinueWhereTheyWereRead) {
  TemporaryDirectory directory;
  for (int i = 0; i < 50; ++i) directory.file_with("entry" + std::to_string(i), "");
  std::string path = directory.file("");
  path.pop_back();
  std::string expected;
  auto list_rest = [](DIR* stream) {
    std::string names;
    while (dirent* entry = ::readdir(stream)) names += std::string(entry->d_name) + "\n";
    return names;
  };
  TemporaryDirectory other;
  auto saved = save_program([&] {
    int fd = put_at(::open(path.c_str(), O_RDONLY | O_DIRECTORY), 5);
    DIR* stream = ::fdopendir(::dup(fd));
    for (int i = 0; i < 20; ++i) ::readdir(stream);
    long position = ::telldir(stream);
    other.file_with("rest", list_rest(stream));
    ::lseek(fd, position, SEEK_SET);
    ::closedir(stream);
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              require(list_rest(::fdopendir(::dup(5))) == read_file(other.file("rest")),
                      "rest of the entries");
            }));
}

TEST(Directories, RemovedOneIsRefused) {
  TemporaryDirectory directory;
  std::string path = directory.file("sub");
  EXPECT_THAT(refusal([&] {
                std::filesystem::create_directory(path);
                put_at(::open(path.c_str(), O_RDONLY | O_DIRECTORY), 5);
                std::filesystem::remove(path);
              }),
              testing::AllOf(HasSubstr("descriptor 5"), HasSubstr("removed"), HasSubstr("close it")));
}

TEST(Devices, WithoutStateOpenAgain) {
  auto saved = save_program([] {
    put_at(::open("/dev/zero", O_RDWR), 5);
    put_at(::open("/dev/urandom", O_RDONLY), 6);
    put_at(::open("/dev/null", O_WRONLY | O_APPEND), 7);
    put_at(::open("/dev/full", O_WRONLY), 8);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require(read_available(5, 4) == std::string(4, '\0'), "zero");
              require_equal(static_cast<long long>(read_available(6, 8).size()), 8, "urandom");
              require_equal(::write(7, "x", 1), 1, "null");
              require(::write(8, "x", 1) < 0 && errno == ENOSPC, "full");
            }));
}

TEST(KernelFiles, OwnOnesFollowTheNewProcess) {
  auto saved = save_program([] {
    put_at(::open("/proc/self/status", O_RDONLY), 5);
    put_at(::open("/proc/meminfo", O_RDONLY), 6);
    put_at(::open("/proc/self/fd", O_RDONLY | O_DIRECTORY), 7);
    put_at(::open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY), 8);
    require(read_available(6, 5) == "MemTo", "meminfo");
  });
  EXPECT_EQ("/proc/self/status", saved->description(5).detail.AsKernelFileDetail()->path);
  EXPECT_EQ("", look_inside(*saved, [] {
              require(
                  read_available(5).find("Pid:\t" + std::to_string(::getpid()) + "\n") != std::string::npos,
                  "pid");
              require(read_available(6, 4) == "tal:", "offset");
              require(!read_available(8).empty(), "/sys");
            }));
}

TEST(KernelFiles, ViewsOfMemoryAreOpenedByTheProgramItself) {
  auto saved = save_program([] {
    put_at(::open("/proc/self/maps", O_RDONLY), 5);
    put_at(::open("/proc/thread-self/comm", O_RDONLY), 6);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              std::string path = "/proc/" + std::to_string(::getpid());
              require(read_link("/proc/self/fd/5") == path + "/maps", "maps");
              require(read_link("/proc/self/fd/6").starts_with(path + "/task/"), "file of a thread");
              require(!read_available(5).empty() && !read_available(6).empty(), "content");
            }));
}

TEST(KernelFiles, ThoseOfOthersAreRefused) {
  EXPECT_THAT(refusal([] {
                put_at(::open(("/proc/" + std::to_string(::getppid()) + "/status").c_str(), O_RDONLY), 5);
              }),
              HasSubstr("another process"));
}

}  // namespace
}  // namespace ckpt::engine
