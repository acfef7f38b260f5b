#include "engine/capture/address_ranges.h"

#include <algorithm>
#include <iterator>

#include "base/remote_addr.h"

namespace ckpt::engine {

void append(AddressRanges& ranges, AddressRange range) {
  if (range.start >= range.end) return;
  if (!ranges.empty() && ranges.back().end >= range.start) {
    ranges.back().end = std::max(ranges.back().end, range.end);
  } else {
    ranges.push_back(range);
  }
}

void normalize(AddressRanges& ranges) {
  std::ranges::sort(ranges, {}, &AddressRange::start);
  AddressRanges result;
  result.reserve(ranges.size());
  for (const AddressRange& range : ranges) append(result, range);
  ranges = std::move(result);
}

AddressRanges unite(const AddressRanges& a, const AddressRanges& b) {
  AddressRanges result;
  result.reserve(a.size() + b.size());
  auto left = a.begin();
  auto right = b.begin();
  while (left != a.end() || right != b.end()) {
    bool take_left = right == b.end() || (left != a.end() && left->start < right->start);
    append(result, take_left ? *left++ : *right++);
  }
  return result;
}

AddressRanges intersect(const AddressRanges& a, const AddressRanges& b) {
  AddressRanges result;
  auto left = a.begin();
  auto right = b.begin();
  while (left != a.end() && right != b.end()) {
    append(result, {std::max(left->start, right->start), std::min(left->end, right->end)});
    if (left->end < right->end) {
      ++left;
    } else {
      ++right;
    }
  }
  return result;
}

AddressRanges subtract(const AddressRanges& a, const AddressRanges& b) {
  AddressRanges result;
  auto hole = b.begin();
  for (AddressRange left : a) {
    while (hole != b.end() && hole->end <= left.start) ++hole;
    for (auto next = hole; next != b.end() && next->start < left.end; ++next) {
      append(result, {left.start, next->start});
      left.start = next->end;
    }
    append(result, left);
  }
  return result;
}

AddressRanges slice(const AddressRanges& ranges, AddressRange window) {
  AddressRanges result;
  auto range = std::ranges::upper_bound(ranges, window.start, {}, &AddressRange::end);
  for (; range != ranges.end() && range->start < window.end; ++range) {
    append(result, {std::max(range->start, window.start), std::min(range->end, window.end)});
  }
  return result;
}

std::uint64_t total_bytes(const AddressRanges& ranges) {
  std::uint64_t total = 0;
  for (const AddressRange& range : ranges) total += range.size_bytes();
  return total;
}

AddressRange range_of(const store::PageRun& run) {
  return {run.first_page * kPageSize, (run.first_page + run.page_count) * kPageSize};
}

store::PageRun run_of(const AddressRange& range) {
  return {.first_page = range.start / kPageSize, .page_count = range.size_bytes() / kPageSize};
}

AddressRanges ranges_of(std::span<const store::PageRun> runs) {
  AddressRanges ranges;
  std::ranges::transform(runs, std::back_inserter(ranges), range_of);
  normalize(ranges);
  return ranges;
}

std::vector<store::PageRun> runs_of(const AddressRanges& ranges) {
  std::vector<store::PageRun> runs;
  std::ranges::transform(ranges, std::back_inserter(runs), run_of);
  return runs;
}

}  // namespace ckpt::engine
