#include "base/duration.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/error.h"

namespace ckpt {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t nanoseconds;
};

constexpr std::array<Unit, 7> kUnits{{{"ns", 1},
                                      {"us", 1'000},
                                      {"ms", 1'000'000},
                                      {"s", 1'000'000'000},
                                      {"m", 60'000'000'000},
                                      {"h", 3'600'000'000'000},
                                      {"d", 86'400'000'000'000}}};

}  // namespace

std::chrono::nanoseconds parse_duration(std::string_view text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const Unit& unit : kUnits) {
    if (error != std::errc() || suffix != unit.name) continue;
    double nanoseconds = value * static_cast<double>(unit.nanoseconds);
    if (!(nanoseconds >= 1) || nanoseconds > 9e18) break;
    return std::chrono::nanoseconds(std::llround(nanoseconds));
  }
  throw Error(fmt::format(
      "'{}' is not a duration; write a positive number with a unit, such as 250ms, 60s, 10m or 1h", text));
}

std::string format_duration(std::chrono::nanoseconds value) {
  for (auto unit = kUnits.rbegin(); unit != kUnits.rend(); ++unit) {
    if (value.count() != 0 && value.count() % unit->nanoseconds == 0) {
      return fmt::format("{}{}", value.count() / unit->nanoseconds, unit->name);
    }
  }
  return "0s";
}

}  // namespace ckpt
