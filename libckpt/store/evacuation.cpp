#include "store/evacuation.h"

#include <algorithm>

namespace ckpt::store {
namespace {

constexpr std::uint64_t kTypicalNodeBytes = 128;
constexpr std::uint64_t kMostlyDead = 4;  // less than a quarter of its pages is referred to

std::uint64_t alive_bytes(const SegmentUse& use) {
  return use.pages * kPageBytes + use.nodes * kTypicalNodeBytes;
}

}  // namespace

Evacuation::Evacuation(const std::vector<SegmentUse>& uses, const SegmentSet& segments,
                       const std::vector<Version>& dead) {
  std::vector<SegmentUse> by_size(uses);
  std::ranges::stable_sort(by_size, {}, alive_bytes);
  std::size_t excess = uses.size() > kMaxSegments ? uses.size() - kFewSegments : 0;
  for (std::size_t i = 0; i < by_size.size(); ++i) {
    const SegmentUse& use = by_size[i];
    const Segment* segment = segments.find(use.segment);
    bool mostly_dead = segment != nullptr && std::ranges::binary_search(dead, Version{use.segment}) &&
                       use.pages < segment->page_count() / kMostlyDead;
    if (i >= excess && !mostly_dead) continue;
    (i < excess ? all_ : some_).insert(use.segment);
    moves_pages_ = moves_pages_ || use.pages != 0;
    moves_nodes_ = moves_nodes_ || use.nodes != 0;
  }
}

bool Evacuation::take_page(std::uint32_t segment) {
  if (all_.contains(segment)) return true;
  if (some_left_ == 0 || !some_.contains(segment)) return false;
  --some_left_;
  return true;
}

}  // namespace ckpt::store
