// Which older segments a new version should stop referring to, by taking over what is still alive in them.
//
// Two reasons, two limits:
//   too many  A version with pages in thousands of segments needs thousands of descriptors. Beyond
//   kMaxSegments the
//             least used ones are emptied, all of them, down to kFewSegments (in batches: finding the pages
//             walks the whole tree).
//   dead      A removed version whose segment is mostly dead only wastes space. It is emptied a bounded
//   number of
//             pages per commit; once no version refers to it the segment is deleted.
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
  static constexpr std::size_t kMaxSegments = 64;
  static constexpr std::size_t kFewSegments = 48;
  static constexpr std::uint64_t kDeadPagesPerCommit = 16384;

  Evacuation() = default;
  // `dead` lists the removed versions whose segments still exist.
  Evacuation(const std::vector<SegmentUse>& uses, const SegmentSet& segments,
             const std::vector<Version>& dead);

  bool moves_pages() const { return moves_pages_; }
  bool moves_nodes() const { return moves_nodes_; }
  // Whether the next page that lies in `segment` should be moved; counts it.
  bool take_page(std::uint32_t segment);
  bool takes_nodes(std::uint32_t segment) const { return all_.contains(segment) || some_.contains(segment); }

 private:
  std::set<std::uint32_t> all_;
  std::set<std::uint32_t> some_;
  std::uint64_t some_left_ = kDeadPagesPerCommit;
  bool moves_pages_ = false;
  bool moves_nodes_ = false;
};

}  // namespace ckpt::store
