#pragma once

#include <compare>
#include <cstdint>

namespace ckpt {

inline constexpr std::uint64_t kPageSize = 4096;

// An address in another process; never dereferenced here.
struct RemoteAddr {
  std::uint64_t value = 0;

  // clang-tidy 14 takes the zero that rewritten comparisons compare with for a null pointer.
  constexpr auto operator<=>(const RemoteAddr&) const = default;  // NOLINT(modernize-use-nullptr)
  constexpr RemoteAddr operator+(std::uint64_t offset) const { return {value + offset}; }
  constexpr RemoteAddr operator-(std::uint64_t offset) const { return {value - offset}; }
  constexpr std::uint64_t operator-(RemoteAddr other) const { return value - other.value; }
};

constexpr std::uint64_t page_floor(std::uint64_t value) { return value & ~(kPageSize - 1); }
constexpr std::uint64_t page_ceil(std::uint64_t value) { return page_floor(value + kPageSize - 1); }

}  // namespace ckpt
