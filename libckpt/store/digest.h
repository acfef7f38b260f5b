#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ckpt::store {

// XXH3, 128 bits, seed 0.
struct Digest {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  bool operator==(const Digest&) const = default;
};

Digest digest_of(std::span<const std::byte> bytes);

}  // namespace ckpt::store
