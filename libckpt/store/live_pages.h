// Which pages of some segments the versions of an application still refer to.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_set>
#include <vector>

#include "store/application_files.h"
#include "store/page_tree.h"

namespace ckpt::store {

class LivePages {
 public:
  // `segments`: those that are asked about.
  explicit LivePages(const std::vector<Version>& segments);

  // Marks what a version refers to. Subtrees that an earlier one shares are not walked again.
  void mark(const OpenVersion& version);

  // By unit; shorter than the segment where nothing behind is alive. `segment` is one of those given.
  const std::vector<bool>& of(Version segment) const { return alive_.at(segment); }

 private:
  void mark_tree(const PageTreeReader& tree, const Reference& node, unsigned level);

  std::map<Version, std::vector<bool>> alive_;
  std::unordered_set<std::uint64_t> seen_;  // nodes: segment and unit
};

}  // namespace ckpt::store
