// Which parts of a version's memory its program touched first after a restore, so that the next restore
// brings them first. Kept in a small file beside the version; losing it costs only time.
//
// v0000000007.touched, all numbers little-endian:
//   offset 0   magic "CKPTTCH1"
//   offset 8   number of parts, at most kMostTouchedParts
//   offset 16  for each part: its number (page number / kTouchedPartPages), in the order of the touches
//   then       XXH3 128 of everything before
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

inline constexpr std::uint64_t kTouchedPartPages = 16;
inline constexpr std::size_t kMostTouchedParts = 8192;

// In order, each part once, until there are enough.
class TouchedParts {
 public:
  void add(std::uint64_t page);
  void add_part(std::uint64_t part);
  const std::vector<std::uint64_t>& in_order() const { return order_; }

 private:
  std::vector<std::uint64_t> order_;
  std::unordered_set<std::uint64_t> known_;
};

// `directory`: of the application. Empty if there is no such file or it is damaged.
TouchedParts load_touched(int directory, store::Version version);
// Does nothing if the version no longer exists. A failure is nobody's concern.
void save_touched(int directory, store::Version version, const TouchedParts& parts) noexcept;
// Removes what belongs to versions that no longer exist.
void remove_stale_touched(int directory) noexcept;

}  // namespace ckpt::engine
