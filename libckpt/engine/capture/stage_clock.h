// Where the time of a pause goes.
#pragma once

#include <chrono>
#include <utility>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

class StageClock {
 public:
  // What has been done since the stage before, or since the clock was made.
  void done(const char* name) {
    auto now = std::chrono::steady_clock::now();
    auto passed = std::chrono::duration_cast<std::chrono::microseconds>(now - last_);
    stages_.push_back({.name = name, .microseconds = static_cast<std::uint64_t>(passed.count())});
    last_ = now;
  }

  std::vector<store::Stage> take() { return std::move(stages_); }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::vector<store::Stage> stages_;
};

}  // namespace ckpt::engine
