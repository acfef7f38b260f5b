#include "launcher/period.h"

namespace ckpt::launcher {

Period::Period(std::optional<std::chrono::nanoseconds> every, Clock::time_point start) : every_(every) {
  if (every_) next_ = start + *every_;
}

bool Period::checkpoint_over(Clock::time_point began, Clock::time_point now) {
  if (!every_) return false;
  auto periods = (now - began) / *every_ + 1;
  next_ = began + periods * *every_;
  return periods > 1;
}

}  // namespace ckpt::launcher
