#include "launcher/memory_limit.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/parse.h"

namespace ckpt::launcher {
namespace {

constexpr std::uint64_t kLeast = 8U << 20;
constexpr std::chrono::milliseconds kSoon{2};
constexpr std::chrono::milliseconds kLater{5};
constexpr std::chrono::milliseconds kInVain{500};

}  // namespace

bool MemoryLimit::look(std::uint64_t resident_bytes, Clock::time_point now) {
  next_look_ = now + (resident_bytes > limit_ / 2 ? kSoon : kLater);
  return resident_bytes > high();
}

std::uint64_t MemoryLimit::excess(std::uint64_t resident_bytes) const {
  return resident_bytes > low() ? resident_bytes - low() : 0;
}

bool MemoryLimit::has_room(std::uint64_t resident_bytes, Clock::time_point now) {
  bool enough = resident_bytes <= high();
  next_look_ = now + (enough ? kSoon : kInVain);
  return enough;
}

std::uint64_t parse_heap_resident(const std::string& text) {
  if (text == "none") return 0;
  std::string digits = text;
  std::uint64_t unit = 1;
  if (!digits.empty()) {
    std::size_t place = std::string_view("KMGT").find(digits.back());
    if (place != std::string_view::npos) {
      unit = std::uint64_t{1} << (10 * (place + 1));
      digits.pop_back();
    }
  }
  std::optional<std::uint64_t> count = parse_unsigned(digits);
  if (!count || *count > (std::uint64_t{1} << 46U) / unit)
    throw Error(fmt::format("--heap-resident {} is no size; give one as 256M or 4G, or none", text));
  if (*count * unit < kLeast)
    throw Error(
        fmt::format("--heap-resident {} is too little to run in; give at least {} MiB", text, kLeast >> 20U));
  return *count * unit;
}

}  // namespace ckpt::launcher
