#include "engine/resource/aio_contexts.h"

#include <gtest/gtest.h>
#include <linux/aio_abi.h>

#include <array>
#include <cstring>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kPage = 4096;

// As the kernel lays it out: eight words, then events of 32 bytes.
std::vector<std::byte> ring_of_one_page(std::uint32_t head, std::uint32_t tail) {
  std::vector<std::byte> ring(kPage);
  std::array<std::uint32_t, 8> header{0, 127, head, tail, 0xa10a10a1, 1, 0, 32};
  std::memcpy(ring.data(), header.data(), sizeof header);
  for (std::uint64_t i = 0; i < 127; ++i) std::memcpy(ring.data() + 32 + i * 32, &i, sizeof i);
  return ring;
}

std::vector<std::uint64_t> data_of(const std::vector<std::byte>& events) {
  std::vector<std::uint64_t> data(events.size() / 32);
  for (std::size_t i = 0; i < data.size(); ++i) std::memcpy(&data[i], events.data() + i * 32, 8);
  return data;
}

TEST(AioRing, TellsTheEventsThatNobodyHasRead) {
  EXPECT_TRUE(resource::waiting_events(ring_of_one_page(5, 5)).empty());
  EXPECT_EQ((std::vector<std::uint64_t>{5, 6}), data_of(resource::waiting_events(ring_of_one_page(5, 7))));
}

TEST(AioRing, GoesOnAtItsBeginning) {
  std::vector<std::uint64_t> expected{125, 126, 0, 1};
  EXPECT_EQ(expected, data_of(resource::waiting_events(ring_of_one_page(125, 2))));
}

TEST(AioRing, IsRefusedWhereItMakesNoSense) {
  EXPECT_THROW(resource::waiting_events(ring_of_one_page(127, 0)), Error);
  EXPECT_THROW(resource::waiting_events(ring_of_one_page(0, 4000)), Error);
  EXPECT_THROW(resource::waiting_events(std::vector<std::byte>(kPage)), Error);
  EXPECT_THROW(resource::waiting_events({}), Error);
}

// As measured on two processors: with one request under way, so many more were taken.
TEST(AioRing, TakesRequestsInPortions) {
  EXPECT_EQ(119U + 1, resource::room_for_requests(127, 2));
  EXPECT_EQ(247U + 1, resource::room_for_requests(255, 2));
  EXPECT_EQ(2295U + 1, resource::room_for_requests(2303, 2));
  EXPECT_EQ(126U, resource::room_for_requests(127, 64));
}

// What the kernel makes of the number (aio_setup_ring): twice, and two more, in whole pages.
TEST(AioRing, ComesInTheSizeThatItHad) {
  for (std::uint64_t pages : {1, 2, 3, 17, 400}) {
    std::uint64_t events = 2ULL * resource::requests_for_ring(pages * kPage) + 2;
    EXPECT_EQ(pages, (32 + events * sizeof(io_event) + kPage - 1) / kPage) << pages;
  }
}

}  // namespace
}  // namespace ckpt::engine
