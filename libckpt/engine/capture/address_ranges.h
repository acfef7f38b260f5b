// Sets of page-aligned addresses as ascending, disjoint ranges.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Addresses, page aligned.
struct AddressRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;

  std::uint64_t size_bytes() const { return end - start; }
  bool operator==(const AddressRange&) const = default;
};

using AddressRanges = std::vector<AddressRange>;

// Adds a range that begins at or after the end of the last one; adjacent ones become one.
void append(AddressRanges& ranges, AddressRange range);

// Brings ranges in any order, overlapping or not, into ascending, disjoint form.
void normalize(AddressRanges& ranges);

// Both arguments normalized; so is the result.
AddressRanges unite(const AddressRanges& a, const AddressRanges& b);
AddressRanges intersect(const AddressRanges& a, const AddressRanges& b);
AddressRanges subtract(const AddressRanges& a, const AddressRanges& b);  // what of `a` is not in `b`

// What of `ranges` (normalized) lies within `window`.
AddressRanges slice(const AddressRanges& ranges, AddressRange window);

std::uint64_t total_bytes(const AddressRanges& ranges);

// The store counts by the numbers of pages.
AddressRange range_of(const store::PageRun& run);
store::PageRun run_of(const AddressRange& range);
AddressRanges ranges_of(std::span<const store::PageRun> runs);  // in any order; the result is normalized
std::vector<store::PageRun> runs_of(const AddressRanges& ranges);

}  // namespace ckpt::engine
