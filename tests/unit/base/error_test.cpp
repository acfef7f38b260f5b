#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace ckpt {
namespace {

TEST(Error, DescribesAnErrnoByTextAndName) {
  EXPECT_EQ(describe_errno(ENOSPC), "No space left on device (ENOSPC)");
}

TEST(Error, DescribesAnUnknownErrnoByNumber) {
  EXPECT_NE(describe_errno(12345).find("12345"), std::string::npos);
}

TEST(Error, CarriesTheErrnoBehindIt) {
  try {
    throw_errno("open /x", EACCES);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "open /x: Permission denied (EACCES)");
    EXPECT_EQ(error.code(), EACCES);
  }
}

TEST(Error, TakesTheCurrentErrno) {
  try {
    errno = EROFS;
    throw_errno("write /x");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), EROFS);
  }
}

TEST(Error, WithoutAnErrnoHasCodeZero) { EXPECT_EQ(Error("no reason").code(), 0); }

}  // namespace
}  // namespace ckpt
