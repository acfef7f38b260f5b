// Which older segments a new version should stop referring to, by taking over what is still alive in them.
//
// Two reasons:
//   too many  A version with pages in thousands of segments needs thousands of descriptors. Beyond
//             kMaxSegments the least used ones are emptied, all of them, down to kFewSegments (in batches:
//             finding the pages walks the whole tree).
//   dead      Segments of removed versions waste what is dead in them. While a version's segments hold more
//             than twice what is alive, those that have least alive are emptied a little with each version:
//             1/64 of what it writes anyway, found in the leaves that it touches and in a few others. A
//             program that changes pages at random so keeps writing 1.02 times what it changes, in about four
//             times its space. Beyond six times, more is done.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "store/checkpoint_store.h"
#include "store/manifest.h"
#include "store/segment.h"

namespace ckpt::store {

class Evacuation {
 public:
  static constexpr std::size_t kMaxSegments = 384;
  static constexpr std::size_t kFewSegments = 320;
  static constexpr std::uint64_t kUrgentPagesPerVersion = 16384;

  Evacuation() = default;
  // `dead` lists the removed versions whose segments still exist.
  Evacuation(const std::vector<SegmentUse>& uses, const SegmentSet& segments,
             const std::vector<Version>& dead);

  // Whether segments have to be emptied to the last page and node, wherever these are.
  bool walks_everything() const { return !all_.empty(); }
  // Whether a segment is one of those.
  bool empties(std::uint32_t segment) const { return all_.contains(segment); }
  // Whether there is anything to be done with leaves that are at hand.
  bool active() const { return !all_.empty() || !some_.empty(); }
  // Says how much the version writes; call it before the first take.
  void grant(std::uint64_t pages_written);
  // Whether the next page, or node, that lies in `segment` should be moved; counts it.
  bool take_page(std::uint32_t segment);
  bool take_node(std::uint32_t segment);

 private:
  void choose_dead(const std::vector<SegmentUse>& uses, const SegmentSet& segments,
                   const std::vector<Version>& dead);

  std::set<std::uint32_t> all_;
  std::set<std::uint32_t> some_;
  std::set<std::uint32_t> some_nodes_;  // of those: nearly without pages
  std::uint64_t pages_left_ = 0;
  std::uint64_t nodes_left_ = 0;
  bool urgent_ = false;
};

}  // namespace ckpt::store
