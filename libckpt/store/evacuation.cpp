#include "store/evacuation.h"

#include <algorithm>

namespace ckpt::store {
namespace {

constexpr std::uint64_t kTypicalNodeBytes = 128;
constexpr std::uint64_t kMostlyDead = 4;     // less than a quarter of its pages is referred to
constexpr std::uint64_t kNearlyEmpty = 128;  // less than this part of its pages is
constexpr std::uint64_t kTolerated = 2;      // times what is alive
constexpr std::uint64_t kUrgent = 6;         // likewise
constexpr std::uint64_t kSlackPages = 1024;  // below this nothing is worth the trouble
constexpr std::size_t kSegmentsAtATime = 8;

std::uint64_t alive_bytes(const SegmentUse& use) {
  return use.pages * kPageBytes + use.nodes * kTypicalNodeBytes;
}

bool takes(const std::set<std::uint32_t>& segments, std::uint32_t segment, std::uint64_t& left) {
  if (left == 0 || !segments.contains(segment)) return false;
  --left;
  return true;
}

}  // namespace

Evacuation::Evacuation(const std::vector<SegmentUse>& uses, const SegmentSet& segments,
                       const std::vector<Version>& dead) {
  if (uses.size() > kMaxSegments) {
    std::vector<SegmentUse> by_size(uses);
    std::ranges::stable_sort(by_size, {}, alive_bytes);
    for (std::size_t i = 0; i < uses.size() - kFewSegments; ++i) all_.insert(by_size[i].segment);
  }
  choose_dead(uses, segments, dead);
}

void Evacuation::choose_dead(const std::vector<SegmentUse>& uses, const SegmentSet& segments,
                             const std::vector<Version>& dead) {
  struct Candidate {
    SegmentUse use;
    std::uint64_t page_count;
    bool operator<(const Candidate& other) const {
      return use.pages * other.page_count < other.use.pages * page_count;
    }
  };
  std::vector<Candidate> candidates;
  std::uint64_t alive = 0;
  std::uint64_t held = 0;
  for (const SegmentUse& use : uses) {
    const Segment* segment = segments.find(use.segment);
    if (segment == nullptr) continue;
    alive += use.pages;
    held += segment->page_count();
    bool is_dead = std::ranges::binary_search(dead, Version{use.segment});
    if (is_dead && use.pages * kMostlyDead < segment->page_count())
      candidates.push_back({.use = use, .page_count = segment->page_count()});
  }
  if (held <= kTolerated * alive + kSlackPages) return;
  urgent_ = held > kUrgent * alive + kSlackPages;
  std::ranges::stable_sort(candidates, std::less<>());
  candidates.resize(std::min(candidates.size(), kSegmentsAtATime));
  for (const Candidate& candidate : candidates) {
    some_.insert(candidate.use.segment);
    if (candidate.use.pages * kNearlyEmpty < candidate.page_count) some_nodes_.insert(candidate.use.segment);
  }
}

void Evacuation::grant(std::uint64_t pages_written) {
  pages_left_ = urgent_ ? kUrgentPagesPerVersion : 4 + pages_written / 64;
  nodes_left_ = urgent_ ? kUrgentPagesPerVersion / 4 : 4 + pages_written / 512;
}

bool Evacuation::take_page(std::uint32_t segment) {
  return all_.contains(segment) || takes(some_, segment, pages_left_);
}

bool Evacuation::take_node(std::uint32_t segment) {
  return all_.contains(segment) || takes(some_nodes_, segment, nodes_left_);
}

}  // namespace ckpt::store
