#include "launcher/memory_limit.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <string_view>

#include "base/error.h"
#include "base/parse.h"

namespace ckpt::launcher {
namespace {

constexpr std::uint64_t kLeast = 8U << 20;
constexpr std::chrono::milliseconds kSoon{2};
constexpr std::chrono::milliseconds kLater{5};
constexpr std::chrono::milliseconds kInVain{500};

std::uint64_t parse_memory(std::string_view option, const std::string& text, std::string_view examples) {
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
    throw Error(fmt::format("{} {} is no size; give one as {}", option, text, examples));
  if (*count * unit < kLeast)
    throw Error(
        fmt::format("{} {} is too little to run in; give at least {} MiB", option, text, kLeast >> 20U));
  return *count * unit;
}

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
  return text == "none" ? 0 : parse_memory("--heap-resident", text, "256M or 4G, or none");
}

std::uint64_t parse_heap_size(const std::string& text) {
  std::uint64_t size = parse_memory("--heap-size", text, "4G or 64G");
  rlimit own{};
  if (::getrlimit(RLIMIT_DATA, &own) != 0) throw_errno("read the limit of data");
  if (size <= own.rlim_max) return size;
  throw Error(
      fmt::format("--heap-size {} is more than the hard limit of data here, {} bytes; raise that "
                  "(ulimit -H -d), or give less",
                  text, own.rlim_max));
}

}  // namespace ckpt::launcher
