// The regions of a heap: parts whose lines have one size each. Ascending and without gaps from 0 to the
// heap's size; neighbours have different lines; each begins and ends at a multiple of its line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vmheap/heap.h"

namespace ckpt::vmheap {

using Regions = std::vector<HeapRegion>;

inline constexpr std::size_t kMostRegions = 64;

// Throws Error if these cannot be the regions of a heap of `size` bytes.
void check_regions(const Regions& regions, std::uint64_t size);

// `region` in place of what was there, or directly behind. Not checked.
Regions replace_region(const Regions& regions, const HeapRegion& region);

// `regions`, and behind their end what `longer` has there, if it is longer: as far as its lines fit; one that
// would begin before that end becomes lines of the size of those before.
Regions extend(const Regions& regions, const Regions& longer);

}  // namespace ckpt::vmheap
