#include "base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <utility>

namespace ckpt {
namespace {

bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

int open_null() {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_GE(fd, 0);
  return fd;
}

TEST(UniqueFd, IsNoneByDefault) {
  UniqueFd fd;
  EXPECT_FALSE(fd);
  EXPECT_EQ(fd.get(), -1);
}

TEST(UniqueFd, ClosesAtTheEndOfItsLife) {
  int number = open_null();
  {
    UniqueFd fd(number);
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, MovingHandsOver) {
  int number = open_null();
  UniqueFd first(number);
  UniqueFd second(std::move(first));
  EXPECT_EQ(second.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(UniqueFd, AssignmentClosesWhatWasHeld) {
  int old_number = open_null();
  int new_number = open_null();
  UniqueFd fd(old_number);
  fd = UniqueFd(new_number);
  EXPECT_FALSE(is_open(old_number));
  EXPECT_TRUE(is_open(new_number));
  EXPECT_EQ(fd.get(), new_number);
}

TEST(UniqueFd, ReleaseKeepsItOpen) {
  int number = open_null();
  {
    UniqueFd fd(number);
    EXPECT_EQ(fd.release(), number);
    EXPECT_FALSE(fd);
  }
  EXPECT_TRUE(is_open(number));
  UniqueFd(number).reset();
  EXPECT_FALSE(is_open(number));
}

}  // namespace
}  // namespace ckpt
