#include "store/live_pages.h"

#include <memory>

namespace ckpt::store {

LivePages::LivePages(const std::vector<Version>& segments) {
  for (Version segment : segments) alive_.try_emplace(segment);
}

void LivePages::mark(const OpenVersion& version) {
  PageTreeReader tree(version.segments);
  for (const SpaceRoot& space : version.manifest.spaces) mark_tree(tree, space.root, kRootLevel);
}

void LivePages::mark_tree(const PageTreeReader& tree, const Reference& node, unsigned level) {
  if (!seen_.insert(node.place()).second) return;
  std::shared_ptr<const Table> table = tree.load(node, level);
  for (const Reference& child : *table) {
    if (!child.present()) continue;
    if (level > 0) {
      mark_tree(tree, child, level - 1);
      continue;
    }
    auto segment = alive_.find(child.segment);
    if (segment == alive_.end()) continue;
    if (segment->second.size() <= child.unit) segment->second.resize(child.unit + 1);
    segment->second[child.unit] = true;
  }
}

}  // namespace ckpt::store
