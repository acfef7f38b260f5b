#pragma once

#include <chrono>
#include <optional>

namespace ckpt::launcher {

// When periodic checkpoints are due. A period that cannot be met is stretched to the next multiple of it:
// checkpoints that take longer than their period are not made back to back.
class Period {
 public:
  using Clock = std::chrono::steady_clock;

  Period(std::optional<std::chrono::nanoseconds> every, Clock::time_point start);

  std::optional<Clock::time_point> next_due() const { return next_; }
  bool due(Clock::time_point now) const { return next_ && *next_ <= now; }
  // A checkpoint, periodic or not, that began at `began` is over. True if it took longer than the period.
  bool checkpoint_over(Clock::time_point began, Clock::time_point now);

 private:
  std::optional<std::chrono::nanoseconds> every_;
  std::optional<Clock::time_point> next_;
};

}  // namespace ckpt::launcher
