#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace ckpt {

// "250ms", "60s", "10m", "1h", "100us", also fractions ("1.5s"); a unit is required. Throws Error otherwise,
// also for zero, negative and overflowing values.
std::chrono::nanoseconds parse_duration(std::string_view text);

// The shortest exact spelling with those units, as parse_duration reads it.
std::string format_duration(std::chrono::nanoseconds value);

}  // namespace ckpt
