// Reads page trees: loads nodes through their delta chains, verifies them, walks ranges of leaves.
// Thread-safe. Memory is bounded: inner nodes are cached up to a fixed number, leaves only if a cache is
// given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "store/manifest.h"
#include "store/node_cache.h"
#include "store/node_codec.h"
#include "store/segment.h"
#include "store/table_cache.h"

namespace ckpt::store {

struct LoadedNode {
  Reference self;
  NodeBytes bytes;
  NodeView view;  // into bytes
};

// Newest first; the last one is whole.
using NodeChain = std::vector<LoadedNode>;

Table table_of(const NodeChain& chain);

class PageTreeReader {
 public:
  // `cache` is asked before the disk, and filled; `tables` is asked before both for leaves; nullptr: none.
  explicit PageTreeReader(std::shared_ptr<const SegmentSet> segments,
                          std::shared_ptr<NodeCache> cache = nullptr,
                          std::shared_ptr<TableCache> tables = nullptr)
      : segments_(std::move(segments)), cache_(std::move(cache)), tables_(std::move(tables)) {}

  const SegmentSet& segments() const { return *segments_; }
  NodeChain load_chain(const Reference& newest, unsigned level) const;
  std::shared_ptr<const Table> load(const Reference& node, unsigned level) const;

  // The leaf that holds pages leaf * 512 … + 511; nullptr if the space has none of them.
  std::shared_ptr<const Table> find_leaf(const SpaceRoot& space, std::uint64_t leaf) const;

  // Calls `visit` for each leaf in [first_leaf, last_leaf], ascending. Throws if there are more pages than
  // the space claims to have, so that a forged tree cannot keep it busy.
  using LeafVisitor = std::function<void(std::uint64_t leaf, const Table& table)>;
  void visit_leaves(const SpaceRoot& space, std::uint64_t first_leaf, std::uint64_t last_leaf,
                    const LeafVisitor& visit) const;

  // Calls `visit` for each leaf that exists, ascending, without loading it. Subtrees for which `skip` is true
  // are left out without being loaded. Throws if there are more leaves than the space has pages.
  using LeafFilter = std::function<bool(std::uint64_t first_leaf, std::uint64_t last_leaf)>;
  using LeafNumberVisitor = std::function<void(std::uint64_t leaf)>;
  void visit_leaf_numbers(const SpaceRoot& space, const LeafFilter& skip,
                          const LeafNumberVisitor& visit) const;

 private:
  struct Walk;
  struct NumberWalk;
  LoadedNode load_node(const Reference& node, unsigned level) const;
  NodeBytes read_node(const Reference& node, const Segment& segment) const;
  void walk(Walk& state, const Reference& node, unsigned level, std::uint64_t prefix) const;
  void walk_numbers(NumberWalk& state, const Reference& node, unsigned level, std::uint64_t prefix) const;

  std::shared_ptr<const SegmentSet> segments_;
  std::shared_ptr<NodeCache> cache_;
  std::shared_ptr<TableCache> tables_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::uint64_t, std::shared_ptr<const Table>> inner_;  // key: segment and unit
};

}  // namespace ckpt::store
