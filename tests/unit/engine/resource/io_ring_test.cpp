#include "engine/resource/io_ring.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/resource/only_hole.h"

namespace ckpt::engine {
namespace {

using resource::parse_ring_info;
using resource::RingInfo;

const std::string kAtRest =
    "pos:\t0\nflags:\t02000002\nino:\t8546480\nSqMask:\t0x7\nSqHead:\t3\nSqTail:\t3\nCachedSqHead:\t3\n"
    "CqMask:\t0xf\nCqHead:\t0\nCqTail:\t3\nCachedCqTail:\t3\nSQEs:\t0\nCQEs:\t1\n"
    "    0: user_data:0, res:0, flag:0\nSqThread:\t-1\nSqThreadCpu:\t-1\nUserFiles:\t3\n"
    "    0: /a\\040b\n    2: pipe:[8546481]\nUserBufs:\t2\n    0: 0x55beb6443000/8192\n    1: <none>\n"
    "PollList:\n";

TEST(RingInfo, TellsSizesCountersAndWhatIsRegistered) {
  RingInfo ring = parse_ring_info(kAtRest + "CqOverflowList:\nNAPI:\tdisabled\n", "it");
  EXPECT_EQ(8U, ring.entries);
  EXPECT_EQ(16U, ring.completion_entries);
  EXPECT_EQ(3U, ring.submitted);
  EXPECT_EQ(3U, ring.completed);
  EXPECT_FALSE(ring.has_thread);
  EXPECT_FALSE(ring.has_requests);
  EXPECT_EQ(3U, ring.file_slots);
  ASSERT_EQ(2U, ring.files.size());
  EXPECT_EQ("/a b", ring.files[0].second);
  EXPECT_EQ(2U, ring.files[1].first);
  EXPECT_EQ("pipe:[8546481]", ring.files[1].second);
  ASSERT_EQ(2U, ring.buffers.size());
  EXPECT_EQ(0x55beb6443000U, ring.buffers[0].start);
  EXPECT_EQ(8192U, ring.buffers[0].length);
  EXPECT_EQ(0U, ring.buffers[1].length);
}

TEST(RingInfo, TellsRequestsUnderWay) {
  EXPECT_TRUE(parse_ring_info(kAtRest + "  op=22, task_works=0\nCqOverflowList:\n", "it").has_requests);
  EXPECT_TRUE(
      parse_ring_info(kAtRest + "CqOverflowList:\n  user_data=1, res=0, flags=0\n", "it").has_requests);
  EXPECT_THROW(parse_ring_info("pos:\t0\n", "it"), Error);
}

TEST(OnlyHole, LeavesJustTheWantedOne) {
  using resource::AddressHole;
  std::vector<AddressHole> holes = resource::holes_to_close(
      "00400000-00500000 r--p 00000000 00:00 0\n"
      "00502000-00600000 rw-p 00000000 00:00 0 [heap]\n"
      "7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n",
      0x1000000, 0x3000);
  std::vector<AddressHole> expected{{0x10000, 0x400000}, {0x600000, 0x1000000}, {0x1003000, 0x7ffffffde000}};
  EXPECT_EQ(expected, holes);
}

TEST(OnlyHole, IsNoLargerThanWanted) {
  using resource::AddressHole;
  std::vector<AddressHole> holes = resource::holes_to_close(
      "00010000-00500000 r--p 00000000 00:00 0\n"
      "00505000-7ffffffff000 rw-p 00000000 00:00 0\n",
      0x501000, 0x3000);
  std::vector<AddressHole> expected{{0x500000, 0x501000}, {0x504000, 0x505000}};
  EXPECT_EQ(expected, holes);
}

}  // namespace
}  // namespace ckpt::engine
