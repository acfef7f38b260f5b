// inotify, pidfds, and how inode numbers are turned into paths.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "engine/resource/fdinfo_lines.h"
#include "engine/resource/inode_paths.h"
#include "engine/resource/queue_content.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using resource::find_paths;
using resource::InodeName;
using testing::HasSubstr;

InodeName name_of(const std::string& path) {
  struct stat status {};
  require_equal(::stat(path.c_str(), &status), 0, path);
  return {.device = status.st_dev, .inode = status.st_ino};
}

TEST(InodePaths, AreFoundNearTheHints) {
  TemporaryDirectory directory;
  std::filesystem::create_directories(directory.file("one/two"));
  std::string deep = directory.file_with("one/two/three", "x");
  std::array wanted{name_of(deep), name_of(directory.file("one"))};
  std::array hints{directory.file("one/two/elsewhere")};
  EXPECT_THAT(find_paths(wanted, hints), testing::ElementsAre(deep, directory.file("one")));
  std::filesystem::rename(deep, directory.file("one/moved"));
  std::array upper{directory.file("one")};
  EXPECT_EQ(directory.file("one/moved"), find_paths(wanted, upper).front());
}

TEST(FdinfoLines, HoldWordsAfterKeys) {
  std::string_view line = "tfd:        5 events:       19 data: ffffffff  pos:0";
  EXPECT_EQ(5U, resource::value_after(line, "tfd:", 10));
  EXPECT_EQ(0x19U, resource::value_after(line, "events:", 16));
  EXPECT_EQ(std::nullopt, resource::value_after(line, "ino:", 16));
  EXPECT_EQ("ffffffff", resource::word_after(line, "data:"));
}

TEST(QueueNotices, AreReadFromTheQueuesFile) {
  resource::QueueNotice notice =
      resource::parse_notice("QSIZE:129        NOTIFY:0     SIGNO:10    NOTIFY_PID:8260  \n");
  EXPECT_EQ(0, notice.kind);
  EXPECT_EQ(10, notice.signal);
  EXPECT_EQ(8260, notice.pid);
  EXPECT_EQ(-1, resource::parse_notice("QSIZE:0 NOTIFY:0 SIGNO:0 NOTIFY_PID:0\n").kind);
  EXPECT_THROW(resource::parse_notice("something"), Error);
}

TEST(Inotify, WatchesTheSamePathsUnderTheSameNumbers) {
  TemporaryDirectory directory;
  std::string watched = directory.file("watched");
  std::filesystem::create_directory(watched);
  auto saved = save_program([&] {
    put_at(::inotify_init1(IN_NONBLOCK), 5);
    require_equal(::inotify_add_watch(5, "/", IN_CREATE), 1, "first watch");
    require_equal(::inotify_add_watch(5, watched.c_str(), IN_CREATE | IN_EXCL_UNLINK), 2, "watch");
    require_equal(::inotify_rm_watch(5, 1), 0, "remove");
    put_at(::open(watched.c_str(), O_RDONLY | O_DIRECTORY), 6);
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              alignas(inotify_event) std::array<char, 4096> room{};
              auto* event = reinterpret_cast<inotify_event*>(room.data());
              require_equal(::read(5, room.data(), room.size()), sizeof(inotify_event), "one event");
              require_equal(event->mask, IN_Q_OVERFLOW, "that something may have been missed");
              require_equal(event->wd, -1, "of no watch");
              std::ofstream(watched + "/new") << "x";
              require(::read(5, room.data(), room.size()) > 0, "event of a new file");
              require_equal(event->wd, 2, "number of the watch");
              require(std::string(event->name) == "new", "name");
              require_equal(::inotify_add_watch(5, "/", IN_CREATE), 3, "number of the next watch");
            }));
}

TEST(Pidfds, MeanTheProgramOrOneThatEnded) {
  auto saved = save_program([] {
    put_at(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)), 5);
    pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    put_at(static_cast<int>(::syscall(SYS_pidfd_open, child, O_NONBLOCK)), 6);
    require_equal(::waitpid(child, nullptr, 0), child, "waitpid");
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require_equal(::syscall(SYS_pidfd_send_signal, 5, 0, nullptr, 0), 0, "own process");
              pollfd polled{6, POLLIN, 0};
              require_equal(::poll(&polled, 1, 0), 1, "the ended one");
              require(::syscall(SYS_pidfd_send_signal, 6, 0, nullptr, 0) < 0 && errno == ESRCH, "gone");
              require_equal(::fcntl(6, F_GETFL) & O_NONBLOCK, O_NONBLOCK, "flags");
            }));
}

TEST(Pidfds, OfOthersAreRefused) {
  EXPECT_THAT(refusal([] { put_at(static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0)), 5); }),
              testing::AllOf(HasSubstr("descriptor 5 is a pidfd"), HasSubstr("not part of the checkpoint")));
}

}  // namespace
}  // namespace ckpt::engine
