#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "base/error.h"
#include "base/file_io.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using testing::HasSubstr;

void open_pipe(int read_number, int write_number, int flags = 0) {
  std::array<int, 2> ends{};
  require_equal(::pipe2(ends.data(), flags), 0, "pipe2");
  ends[0] = require_fd(::fcntl(ends[0], F_DUPFD, 100), "move");
  ends[1] = require_fd(::fcntl(ends[1], F_DUPFD, 100), "move");
  ::close_range(3, 50, 0);
  put_at(ends[0], read_number);
  put_at(ends[1], write_number);
}

int waiting(int fd) {
  int count = 0;
  require_equal(::ioctl(fd, FIONREAD, &count), 0, "FIONREAD");
  return count;
}

short poll_events(int fd) {
  pollfd poller{fd, POLLIN, 0};
  require(::poll(&poller, 1, 0) >= 0, "poll");
  return poller.revents;
}

TEST(Pipes, KeepBytesModesAndCapacity) {
  auto saved = save_program([] {
    open_pipe(5, 6);
    require_equal(::fcntl(6, F_SETPIPE_SZ, 16384), 16384, "capacity");
    require_equal(::write(6, "hello ", 6), 6, "write");
    require_equal(::write(6, "world", 5), 5, "write");
    ::fcntl(5, F_SETFL, O_NONBLOCK);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require_equal(::fcntl(5, F_GETFL), O_NONBLOCK, "flags of the read end");
              require_equal(::fcntl(6, F_GETFL), O_WRONLY, "flags of the write end");
              require_equal(::fcntl(5, F_GETPIPE_SZ), 16384, "capacity");
              require(read_available(5) == "hello world", "content");
              require(::read(5, nullptr, 0) == 0, "read end");
              require_equal(::write(6, "x", 1), 1, "write");
              require(read_available(5) == "x", "connected");
              ::close(6);
              require(read_available(5).empty(), "no other write end is left open");
            }));
}

TEST(Pipes, SavingLeavesTheBytesWhereTheyAre) {
  int status = -1;
  auto saved = save_program(
      [] {
        open_pipe(5, 6);
        std::string full(65536, 'x');
        require_equal(::write(6, full.data(), full.size()), 65536, "write");
      },
      [&](pid_t pid) {
        UniqueFd pipe(::open(("/proc/" + std::to_string(pid) + "/fd/5").c_str(), O_RDONLY | O_NONBLOCK));
        status = waiting(pipe.get());
      });
  EXPECT_EQ(65536, status);
  EXPECT_EQ("", look_inside(*saved, [] { require_equal(waiting(5), 65536, "a full pipe"); }));
}

TEST(Pipes, ManySmallWritesThatFillEverySlot) {
  auto saved = save_program([] {
    open_pipe(5, 6, O_DIRECT | O_NONBLOCK);
    while (::write(6, "12345", 5) == 5) continue;
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require((::fcntl(6, F_GETFL) & O_DIRECT) != 0, "packet mode");
              require_equal(waiting(5), 16 * 5, "bytes");
              for (int i = 0; i < 16; ++i) require(read_available(5) == "12345", "packet");
            }));
}

TEST(Pipes, PacketsKeepTheirBoundaries) {
  auto saved = save_program([] {
    open_pipe(5, 6, O_DIRECT);
    require_equal(::write(6, "one", 3), 3, "write");
    require_equal(::write(6, "three", 5), 5, "write");
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require(read_available(5, 2) == "on", "part of a packet");
              require(read_available(5) == "three", "the rest of it is gone");
            }));
}

TEST(Pipes, SeveralDescriptionsOfOneEnd) {
  auto saved = save_program([] {
    open_pipe(5, 6);
    put_at(::open("/proc/self/fd/6", O_WRONLY | O_NONBLOCK), 7);
    put_at(::open("/proc/self/fd/6", O_RDWR), 8);
    ::dup2(5, 9);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require(!same_file_description(6, 7) && same_file_description(5, 9), "descriptions");
              require((::fcntl(7, F_GETFL) & O_NONBLOCK) != 0, "flags of 7");
              require((::fcntl(6, F_GETFL) & O_NONBLOCK) == 0, "flags of 6");
              require_equal(::write(7, "a", 1) + ::write(8, "b", 1) + ::write(6, "c", 1), 3, "writes");
              require(read_available(8) == "abc", "one pipe");
            }));
}

TEST(Pipes, EndOfFileIsKept) {
  auto saved = save_program([] {
    open_pipe(5, 6);
    require_equal(::write(6, "last", 4), 4, "write");
    ::close(6);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require(read_available(5) == "last", "content");
              require((poll_events(5) & POLLHUP) != 0, "POLLHUP");
              require(read_available(5).empty(), "end of file");
            }));
}

TEST(Pipes, AWriteEndWithoutReaderStaysBroken) {
  auto saved = save_program([] {
    open_pipe(5, 6);
    ::close(5);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              ::signal(SIGPIPE, SIG_IGN);
              require(::write(6, "x", 1) < 0 && errno == EPIPE, "EPIPE");
            }));
}

TEST(Pipes, OneEndOutsideIsRefused) {
  std::array<int, 2> ends{};
  ASSERT_EQ(0, ::pipe2(ends.data(), O_CLOEXEC));
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::string reader = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(read_end.get());
  EXPECT_THAT(
      refusal([&] { put_at(::open(reader.c_str(), O_RDONLY | O_NONBLOCK), 5); }),
      testing::AllOf(HasSubstr("descriptor 5"), HasSubstr("read end of a pipe"), HasSubstr("close it")));
}

TEST(Pipes, OwnersAndSignalsAreKept) {
  auto saved = save_program([] {
    open_pipe(5, 6);
    require_equal(::fcntl(5, F_SETOWN, ::getpid()), 0, "F_SETOWN");
    require_equal(::fcntl(5, F_SETSIG, SIGRTMIN), 0, "F_SETSIG");
    require_equal(::fcntl(5, F_SETFL, O_ASYNC), 0, "O_ASYNC");
    ::signal(SIGRTMIN, SIG_IGN);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require_equal(::fcntl(5, F_GETOWN), ::getpid(), "owner");
              require_equal(::fcntl(5, F_GETSIG), SIGRTMIN, "signal");
              require((::fcntl(5, F_GETFL) & O_ASYNC) != 0, "O_ASYNC");
              sigset_t set;
              ::sigemptyset(&set);
              ::sigaddset(&set, SIGRTMIN);
              ::sigprocmask(SIG_BLOCK, &set, nullptr);
              require_equal(::write(6, "x", 1), 1, "write");
              siginfo_t info{};
              require_equal(::sigwaitinfo(&set, &info), SIGRTMIN, "signal received");
              require_equal(info.si_fd, 5, "descriptor in the signal");
            }));
}

bool may_have_pipe_of(int capacity) {
  std::array<int, 2> ends{};
  require_equal(::pipe2(ends.data(), O_CLOEXEC), 0, "pipe2");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  return ::fcntl(read_end.get(), F_SETPIPE_SZ, capacity) > 0;
}

TEST(Pipes, CapacityThatThisUserMayNotHaveIsLoweredAndNotedIfTheContentFits) {
  constexpr int kExcessive = 1 << 28;
  if (may_have_pipe_of(kExcessive)) GTEST_SKIP() << "this user may have pipes of any capacity";
  auto saved = save_program([] { open_pipe(5, 6); });
  auto first = static_cast<std::size_t>(saved->descriptor(5)->description);
  auto& detail = *saved->checkpoint.process->descriptions.at(first)->detail.AsPipeDetail();
  detail.capacity = kExcessive;
  detail.content.assign(1000, 'x');
  std::vector<std::string> notes;
  check_descriptors(saved->checkpoint, &notes);
  EXPECT_THAT(notes, testing::ElementsAre(HasSubstr("the most that this user may have")));
  EXPECT_EQ("", look_inside(*saved, [] { require_equal(waiting(5), 1000, "content"); }));
  detail.content.assign(std::stoul(read_file("/proc/sys/fs/pipe-max-size")) + 1, 'x');
  EXPECT_THROW(check_descriptors(saved->checkpoint), Error);
  EXPECT_THAT(look_inside(*saved, [] {}), HasSubstr("do not fit"));
}

TEST(Fifos, WithBothEndsInsideKeepTheirBytes) {
  TemporaryDirectory directory;
  std::string path = directory.file("fifo");
  ASSERT_EQ(0, ::mkfifo(path.c_str(), 0600));
  auto saved = save_program([&] {
    put_at(::open(path.c_str(), O_RDONLY | O_NONBLOCK), 5);
    put_at(::open(path.c_str(), O_WRONLY), 6);
    require_equal(::write(6, "hello", 5), 5, "write");
    ::fcntl(5, F_SETFL, 0);
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              require_equal(::fcntl(5, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDONLY, "flags of the reader");
              require_equal(::fcntl(6, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_WRONLY, "flags of the writer");
              require(read_link("/proc/self/fd/5") == path, "path");
              require(read_available(5) == "hello", "content");
              ::close(6);
              require(read_available(5).empty(), "no other write end is left open");
            }));
}

TEST(Fifos, WithOneEndInsideOpenWithoutBlocking) {
  TemporaryDirectory directory;
  std::string path = directory.file("fifo");
  ASSERT_EQ(0, ::mkfifo(path.c_str(), 0600));
  auto saved = save_program([&] { put_at(::open(path.c_str(), O_RDONLY | O_NONBLOCK), 5); });
  EXPECT_EQ("", look_inside(*saved, [&] {
              put_at(::open(path.c_str(), O_WRONLY), 6);
              require_equal(::write(6, "x", 1), 1, "write");
              require(read_available(5) == "x", "content");
            }));
}

TEST(Fifos, WithoutANameAnyMoreBecomePipes) {
  TemporaryDirectory directory;
  std::string path = directory.file("fifo");
  auto saved = save_program([&] {
    require_equal(::mkfifo(path.c_str(), 0600), 0, "mkfifo");
    put_at(::open(path.c_str(), O_RDWR), 5);
    require_equal(::write(5, "hello", 5), 5, "write");
    ::unlink(path.c_str());
  });
  EXPECT_EQ("", look_inside(*saved, [&] { require(read_available(5) == "hello", "content"); }));
}

TEST(Fifos, MissingOneIsNamedBeforeRestore) {
  TemporaryDirectory directory;
  std::string path = directory.file("fifo");
  auto saved = save_program([&] {
    require_equal(::mkfifo(path.c_str(), 0600), 0, "mkfifo");
    put_at(::open(path.c_str(), O_RDWR), 5);
  });
  ::unlink(path.c_str());
  try {
    check_descriptors(saved->checkpoint);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("descriptor 5: " + path + " is missing"));
  }
}

}  // namespace
}  // namespace ckpt::engine
