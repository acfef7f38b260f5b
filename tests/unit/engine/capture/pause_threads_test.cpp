#include "engine/capture/pause_threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace ckpt::engine {
namespace {

TEST(PauseThreads, EveryPartIsDoneOnce) {
  PauseThreads threads;
  for (std::size_t parts : {0U, 1U, 2U, 500U}) {
    std::vector<std::atomic<int>> done(parts);
    threads.run(parts, [&](std::size_t part) { ++done[part]; });
    for (const std::atomic<int>& count : done) EXPECT_EQ(count, 1);
  }
}

TEST(PauseThreads, AFailureReachesTheCallerAndTheNextRunWorks) {
  PauseThreads threads;
  EXPECT_THROW(threads.run(50,
                           [](std::size_t part) {
                             if (part == 7) throw std::runtime_error("seven");
                           }),
               std::runtime_error);
  std::atomic<int> done = 0;
  threads.run(20, [&](std::size_t) { ++done; });
  EXPECT_EQ(done, 20);
}

}  // namespace
}  // namespace ckpt::engine
