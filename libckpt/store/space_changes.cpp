#include "store/space_changes.h"

#include <algorithm>
#include <vector>

namespace ckpt::store {

const Table* SpaceChanges::parent_leaf(std::uint64_t leaf) {
  if (!parent_.root.present()) return nullptr;
  if (leaf_number_ != leaf) {
    leaf_ = tree_->find_leaf(parent_, leaf);
    leaf_number_ = leaf;
  }
  return leaf_.get();
}

void SpaceChanges::drop(PageRun run) {
  if (run.page_count == 0) return;
  std::uint64_t end = run.first_page + run.page_count;
  std::uint64_t first_leaf = run.first_page / kFanout;
  std::uint64_t last_leaf = (end - 1) / kFanout;
  // Only leaves that exist, in the parent or among the changes, so a huge run costs no more than what is in
  // it.
  std::vector<std::uint64_t> leaves;
  for (auto it = changes_.lower_bound(first_leaf); it != changes_.end() && it->first <= last_leaf; ++it) {
    leaves.push_back(it->first);
  }
  if (parent_remains()) {
    auto outside = [&](std::uint64_t first, std::uint64_t last) {
      return last < first_leaf || first > last_leaf;
    };
    tree_->visit_leaf_numbers(parent_, outside, [&](std::uint64_t leaf) { leaves.push_back(leaf); });
  }
  for (std::uint64_t leaf : leaves) {
    LeafPages gone;
    std::uint64_t last = std::min(end, (leaf + 1) * kFanout);
    for (std::uint64_t page = std::max(run.first_page, leaf * kFanout); page < last; ++page)
      gone.set(page % kFanout);
    remove_from_leaf(leaf, gone);
  }
}

void SpaceChanges::keep_only(const KeptPages& kept) {
  if (kept.empty()) {
    remove_all();
    return;
  }
  std::vector<std::uint64_t> leaves;
  for (const auto& [leaf, changes] : changes_) {
    if (!kept.covers_leaves(leaf, leaf)) leaves.push_back(leaf);
  }
  if (parent_remains()) {
    auto covered = [&](std::uint64_t first, std::uint64_t last) { return kept.covers_leaves(first, last); };
    tree_->visit_leaf_numbers(parent_, covered, [&](std::uint64_t leaf) { leaves.push_back(leaf); });
  }
  for (std::uint64_t leaf : leaves) remove_from_leaf(leaf, kept.missing_in(leaf));
}

void SpaceChanges::spill() {
  for (auto& [leaf, changes] : changes_) spill_.store(changes);
}

std::optional<Reference> SpaceChanges::find_change(std::uint64_t page) {
  auto leaf = changes_.find(page / kFanout);
  bool cleared = base_ == Base::kEmpty;
  if (leaf == changes_.end()) return cleared ? std::optional(Reference()) : std::nullopt;
  std::optional<Reference> result;
  edit(leaf->second, [&](LeafChanges& changes) {
    cleared = cleared || changes.cleared;
    // The last change of a page wins.
    auto last = std::find_if(changes.pages.rbegin(), changes.pages.rend(),
                             [&](const PageChange& change) { return change.index == page % kFanout; });
    if (last != changes.pages.rend()) result = last->reference;
  });
  if (!result && cleared) return Reference();
  return result;
}

void SpaceChanges::edit(LeafChanges& leaf, const LeafEdit& edit) {
  bool spilled = leaf.spilled_count != 0;
  spill_.load(leaf);
  edit(leaf);
  if (spilled) spill_.store(leaf);
}

void SpaceChanges::remove_all() {
  changes_.clear();
  base_ = Base::kEmpty;
}

void SpaceChanges::remove_from_leaf(std::uint64_t leaf, const LeafPages& gone) {
  if (gone.all()) {
    changes_[leaf].clear();
    return;
  }
  auto changed = changes_.find(leaf);
  bool cleared = changed != changes_.end() && changed->second.cleared;
  if (changed != changes_.end()) edit(changed->second, [&](LeafChanges& changes) { changes.remove(gone); });
  if (!parent_remains() || cleared) return;
  // Only what the parent has is marked as removed, so that a leaf of which nothing goes is not a change.
  const Table* parent = parent_leaf(leaf);
  for (std::size_t i = 0; parent != nullptr && i < kFanout; ++i) {
    if (gone[i] && (*parent)[i].present()) changes_[leaf].add(i, {});
  }
}

}  // namespace ckpt::store
