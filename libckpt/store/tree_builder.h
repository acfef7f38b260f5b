// Builds the page tree of a new version: the parent's tree with changes, or only what was put. Nodes that
// stay equal are shared with the parent; changed ones are written as deltas while that pays, else whole.
//
// Delta policy: a new delta absorbs the deltas below it that are not larger than itself, so sizes grow down
// the chain, entries are rewritten a logarithmic number of times, and the chain stays within kMaxChain. A
// delta larger than half of the whole node is written as the whole node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "store/change_spill.h"
#include "store/checkpoint_store.h"
#include "store/evacuation.h"
#include "store/manifest.h"
#include "store/page_changes.h"
#include "store/page_tree.h"

namespace ckpt::store {

// How much of each segment a version refers to, kept up to date while its trees are built.
class UseCounts {
 public:
  UseCounts() = default;
  explicit UseCounts(const std::vector<SegmentUse>& parent);

  // Throws if a count would become negative: the parent's manifest lied.
  void change_pages(std::uint32_t segment, int by);
  void change_nodes(std::uint32_t segment, int by);
  std::vector<SegmentUse> referenced() const;  // ascending; those with anything left

 private:
  std::map<std::uint32_t, SegmentUse> uses_;
};

class TreeBuilder {
 public:
  // Appends a node to the segment being written and returns its unit.
  using NodeSink = std::function<std::uint32_t(std::span<const std::byte> node)>;

  // `parent` may be nullptr if there is none; `own` is the version being written. Nodes in segments that
  // `evacuation` takes are written again.
  TreeBuilder(const PageTreeReader* parent, std::uint32_t own, Evacuation& evacuation, UseCounts& uses,
              NodeCache& cache, ChangeSpill& spill, NodeSink sink)
      : parent_(parent),
        own_(own),
        evacuation_(evacuation),
        uses_(uses),
        cache_(cache),
        spill_(spill),
        sink_(std::move(sink)) {}

  // The changes stay as they are: somebody may look them up if the version fails.
  void keep_changes() { keeps_changes_ = true; }

  // `old` is the parent's root of this space, with page_count 0 and no root if it has none.
  // Returns nullopt if no page is left. Uses the changes up.
  std::optional<SpaceRoot> build(const SpaceRoot& old, Base base, PageChanges& changes);

 private:
  struct Range {
    PageChanges::iterator begin;
    PageChanges::iterator end;
  };
  Reference build_node(const Reference& old, unsigned level, Range changes);
  Reference build_leaf(const Reference& old, Range changes);
  Reference finish_node(const NodeChain& old_chain, const Table& old, const Table& next, unsigned level);
  Reference write_node(const NodeChain& old_chain, const std::vector<bool>& leaving, const Table& old,
                       const Table& next, unsigned level);
  Reference append(std::vector<std::byte> node);
  NodeChain load_chain(const Reference& node, unsigned level) const;
  // Which of them lie in segments that are emptied.
  std::vector<bool> leaving_nodes(const NodeChain& chain);
  void count_pages(const Table& old, const Table& next);
  void release_nodes(std::span<const LoadedNode> nodes);
  void release_tree(const Reference& node, unsigned level);

  const PageTreeReader* parent_;
  std::uint32_t own_;
  Evacuation& evacuation_;
  UseCounts& uses_;
  NodeCache& cache_;
  ChangeSpill& spill_;
  NodeSink sink_;
  // Of the space that is being built.
  Base base_ = Base::kEmpty;
  std::int64_t page_count_ = 0;
  bool keeps_changes_ = false;
};

}  // namespace ckpt::store
