#include "base/remote_addr.h"

#include <gtest/gtest.h>

namespace ckpt {
namespace {

TEST(RemoteAddr, MovesByOffsetsAndMeasuresDistances) {
  RemoteAddr base{0x1000};
  EXPECT_EQ((base + 0x234).value, 0x1234U);
  EXPECT_EQ((base - 0x10).value, 0xff0U);
  EXPECT_EQ((base + 0x234) - base, 0x234U);
}

TEST(RemoteAddr, IsOrderedByAddress) {
  EXPECT_LT(RemoteAddr{1}, RemoteAddr{2});
  EXPECT_EQ(RemoteAddr{7}, RemoteAddr{7});
}

TEST(PageRounding, KeepsBoundariesAndRoundsTheRest) {
  EXPECT_EQ(page_floor(0x1000), 0x1000U);
  EXPECT_EQ(page_floor(0x1fff), 0x1000U);
  EXPECT_EQ(page_ceil(0x1000), 0x1000U);
  EXPECT_EQ(page_ceil(0x1001), 0x2000U);
  EXPECT_EQ(page_ceil(0), 0U);
}

}  // namespace
}  // namespace ckpt
