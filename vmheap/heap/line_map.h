// Which line a page of a heap is in. A line is named by its first page, so that one numbering holds for lines
// of all sizes; lengths are in pages, too. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "heap/regions.h"
#include "store/checkpoint_store.h"

namespace ckpt::vmheap {

using Line = std::uint64_t;  // first page: offset in the heap / store::kPageBytes

class LineMap {
 public:
  explicit LineMap(const Regions& regions) {
    for (const HeapRegion& region : regions) {
      parts_.push_back({.end = (region.begin + region.size) / store::kPageBytes,
                        .pages = region.line_bytes / store::kPageBytes});
    }
  }

  std::uint64_t length(std::uint64_t page) const {  // of the line that it is in
    if (parts_.size() == 1) return parts_.front().pages;
    auto found = std::ranges::upper_bound(parts_, page, {}, &Part::end);
    return found == parts_.end() ? parts_.back().pages : found->pages;
  }
  Line line_of(std::uint64_t page) const { return page & ~(length(page) - 1); }
  Line next(Line line) const { return line + length(line); }
  std::uint64_t end() const { return parts_.back().end; }  // of the heap
  std::uint64_t longest() const { return std::ranges::max(parts_, {}, &Part::pages).pages; }

 private:
  struct Part {
    std::uint64_t end = 0;
    std::uint64_t pages = 0;  // of each line; a power of two
  };
  std::vector<Part> parts_;  // ascending
};

}  // namespace ckpt::vmheap
