// Which pages of a version go where in the process being rebuilt, and which of them may come later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/restore/missing_pages.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct AddressSpan {
  std::uint64_t start;
  std::uint64_t end;
};

struct FillPlan {
  std::vector<store::PageRun> now;  // of the process's own space
  MissingPages later;
  std::vector<AddressSpan> watched;  // mappings with pages in `later`, whole
};

// `runs` but for memory that the program wants to be zeroes in whatever is copied from it (MADV_WIPEONFORK):
// what random numbers are made from.
std::vector<store::PageRun> without_wiped(const image::ProcessT& process,
                                          const std::vector<store::PageRun>& runs);

// When pages that may be watched are going to be installed: while the program runs, or before.
enum class FillTime { kLater, kNow };

// `runs`: of the process's space, ascending.
//
// Later: plain private memory. Now: pages of file mappings, which cannot be watched; memory that the program
// locked, because it relies on its being there; memory that its children find empty, because it is not said
// when that is so; and the stack with arguments and environment, which /proc shows without waiting for pages.
// Where pages are not going to come while the program runs, memory that may have huge pages is filled the
// plain way, so that it gets them.
FillPlan plan_fill(const image::ProcessT& process, const std::vector<store::PageRun>& runs, FillTime time);

}  // namespace ckpt::engine
