#include "store/kept_pages.h"

#include <algorithm>

#include "base/error.h"

namespace ckpt::store {
namespace {

std::uint64_t end_of(const PageRun& run) { return run.first_page + run.page_count; }

}  // namespace

KeptPages::KeptPages(std::span<const PageRun> runs) : runs_(runs) {
  std::uint64_t end = 0;
  for (const PageRun& run : runs) {
    if (run.first_page < end ||
        run.page_count > kPageNumberLimit - std::min(run.first_page, kPageNumberLimit)) {
      throw Error("keep_only needs ascending, disjoint runs; this is a defect of the caller");
    }
    end = end_of(run);
  }
}

std::span<const PageRun>::iterator KeptPages::first_behind(std::uint64_t page) const {
  return std::ranges::upper_bound(runs_, page, {}, end_of);
}

bool KeptPages::covers_leaves(std::uint64_t first_leaf, std::uint64_t last_leaf) const {
  std::uint64_t page = first_leaf * kFanout;
  std::uint64_t end = (last_leaf + 1) * kFanout;
  for (auto run = first_behind(page); run != runs_.end() && run->first_page <= page; ++run) {
    page = end_of(*run);
    if (page >= end) return true;
  }
  return false;
}

std::bitset<kFanout> KeptPages::missing_in(std::uint64_t leaf) const {
  std::bitset<kFanout> missing;
  missing.set();
  std::uint64_t begin = leaf * kFanout;
  std::uint64_t end = begin + kFanout;
  for (auto run = first_behind(begin); run != runs_.end() && run->first_page < end; ++run) {
    std::uint64_t last = std::min(end, end_of(*run));
    for (std::uint64_t page = std::max(begin, run->first_page); page < last; ++page)
      missing.reset(page - begin);
  }
  return missing;
}

}  // namespace ckpt::store
