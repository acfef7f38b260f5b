#include "launcher/human_units.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <ctime>

namespace ckpt::launcher {

std::string human_bytes(std::uint64_t size_bytes) {
  constexpr std::array kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (size_bytes < 1024) return fmt::format("{} B", size_bytes);
  double value = static_cast<double>(size_bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_age(std::int64_t age_ns) {
  std::int64_t seconds = age_ns < 0 ? 0 : age_ns / 1'000'000'000;
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (seconds < 7200) return fmt::format("{}m", seconds / 60);
  if (seconds < 172800) return fmt::format("{}h", seconds / 3600);
  return fmt::format("{}d", seconds / 86400);
}

std::string human_time(std::int64_t realtime_ns) {
  std::time_t seconds = realtime_ns / 1'000'000'000;
  std::tm parts{};
  if (::localtime_r(&seconds, &parts) == nullptr) return "?";
  std::array<char, 32> text{};
  std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return {text.data(), length};
}

std::string human_microseconds(std::uint64_t microseconds) {
  return fmt::format("{:.3f} ms", static_cast<double>(microseconds) / 1000);
}

std::int64_t realtime_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace ckpt::launcher
