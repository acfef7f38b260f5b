// One space of a version that is being written: the parent's pages, and what was put and removed since.
#pragma once

#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "store/change_spill.h"
#include "store/checkpoint_store.h"
#include "store/kept_pages.h"
#include "store/page_changes.h"
#include "store/page_tree.h"

namespace ckpt::store {

class SpaceChanges {
 public:
  // `parent` has no root if the parent version lacks the space; `tree` may then be nullptr.
  // `spill` must outlive this.
  SpaceChanges(const SpaceRoot& parent, const PageTreeReader* tree, Base base, ChangeSpill& spill)
      : parent_(parent), tree_(tree), base_(base), spill_(spill) {}

  const SpaceRoot& parent() const { return parent_; }
  // kEmpty: nothing of the parent remains.
  Base base() const { return base_; }
  PageChanges& changes() { return changes_; }
  // Takes the changes out of memory.
  void spill();
  // Calls `edit` with all changes of a leaf in memory.
  using LeafEdit = std::function<void(LeafChanges& leaf)>;
  void edit(LeafChanges& leaf, const LeafEdit& edit);

  // What a page became in this version (absent: it was removed); nullopt: it is as in the parent.
  std::optional<Reference> find_change(std::uint64_t page);

  // The parent's leaf, to compare with; nullptr if it has none. Valid until the next call.
  const Table* parent_leaf(std::uint64_t leaf);
  bool parent_remains() const { return base_ == Base::kParent && parent_.root.present(); }

  void drop(PageRun run);
  void keep_only(const KeptPages& kept);

 private:
  using LeafPages = std::bitset<kFanout>;
  void remove_from_leaf(std::uint64_t leaf, const LeafPages& gone);
  void remove_all();

  SpaceRoot parent_;
  const PageTreeReader* tree_;
  Base base_;
  ChangeSpill& spill_;
  PageChanges changes_;
  // The leaf looked up last: puts are mostly ascending.
  std::uint64_t leaf_number_ = ~0ULL;
  std::shared_ptr<const Table> leaf_;
};

}  // namespace ckpt::store
