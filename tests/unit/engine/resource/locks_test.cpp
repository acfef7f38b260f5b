#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/resource/file_locks.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using resource::find_holder;
using resource::parse_locks;
using testing::HasSubstr;

TEST(LockLines, TellKindAccessAndRange) {
  std::vector<image::FileLockT> locks = parse_locks(
      "pos:\t0\nflags:\t02\nlock:\t1: POSIX  ADVISORY  WRITE 1779 fe:00:10986700 5 14\n"
      "lock:\t2: OFDLCK ADVISORY  READ  -1 fe:00:10986700 100 EOF\n"
      "lock:\t3: FLOCK  ADVISORY  WRITE 1779 fe:00:10986700 0 EOF\n",
      "it");
  ASSERT_EQ(3U, locks.size());
  EXPECT_EQ(image::LockKind::Record, locks[0].kind);
  EXPECT_TRUE(locks[0].exclusive);
  EXPECT_EQ(5U, locks[0].start);
  EXPECT_EQ(10U, locks[0].length);
  EXPECT_EQ(image::LockKind::OpenDescription, locks[1].kind);
  EXPECT_FALSE(locks[1].exclusive);
  EXPECT_EQ(100U, locks[1].start);
  EXPECT_EQ(0U, locks[1].length);
  EXPECT_EQ(image::LockKind::WholeFile, locks[2].kind);
}

TEST(LockLines, LeasesAndUnknownOnesAreRefused) {
  EXPECT_THROW(parse_locks("lock:\t1: LEASE  ACTIVE    READ  1779 fe:00:10986700 0 EOF\n", "it"), Error);
  EXPECT_THROW(parse_locks("lock:\t1: SOMETHING\n", "it"), Error);
}

TEST(LockLines, HolderIsNotTheOneWhoWaits) {
  std::string text =
      "1: POSIX  ADVISORY  WRITE 12 fe:00:77 0 EOF\n"
      "2: FLOCK  ADVISORY  WRITE 13 fe:01:78 0 EOF\n"
      "2: -> FLOCK  ADVISORY  WRITE 14 fe:01:79 0 EOF\n";
  EXPECT_EQ(13, find_holder(text, makedev(0xfe, 1), 78));
  EXPECT_EQ(0, find_holder(text, makedev(0xfe, 1), 79));
  EXPECT_EQ(0, find_holder(text, makedev(0xfe, 1), 77));
}

int try_record_lock(int fd, off_t start) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_start = start;
  lock.l_len = 10;
  return ::fcntl(fd, F_SETLK, &lock);
}

// Whether an open-file-description lock at `start` would meet another lock.
bool meets_lock(const std::string& path, off_t start) {
  int fd = require_fd(::open(path.c_str(), O_RDWR), path);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_start = start;
  lock.l_len = 1;
  require_equal(::fcntl(fd, F_OFD_GETLK, &lock), 0, "F_OFD_GETLK");
  return lock.l_type != F_UNLCK;  // left open: closing it would give up our record locks
}

TEST(Locks, AreTakenAgain) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "x");
  auto saved = save_program([&] {
    put_at(::open(path.c_str(), O_RDWR), 5);
    put_at(::open(path.c_str(), O_RDONLY), 6);
    require_equal(try_record_lock(5, 20), 0, "lock");
    require_equal(::flock(6, LOCK_EX), 0, "flock");
  });
  EXPECT_EQ("", look_inside(*saved, [&] {
              require(meets_lock(path, 29) && !meets_lock(path, 30) && !meets_lock(path, 19), "range");
              require(::flock(5, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK, "flock");
            }));
}

TEST(Locks, HeldByAnotherNowAreReported) {
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "x");
  auto saved = save_program([&] {
    put_at(::open(path.c_str(), O_RDWR), 5);
    require_equal(::flock(5, LOCK_EX), 0, "flock");
  });
  UniqueFd other(::open(path.c_str(), O_RDWR));
  while (::flock(other.get(), LOCK_EX) != 0) continue;  // until the program's end is complete
  EXPECT_THAT(look_inside(*saved, [] {}),
              testing::AllOf(HasSubstr("descriptor 5"), HasSubstr(path), HasSubstr("--locks wait"),
                             HasSubstr("process " + std::to_string(::getpid()))));
}

}  // namespace
}  // namespace ckpt::engine
