// Page-tree nodes between bytes (segment_format.h) and tables. Parsing validates everything that does not
// need another file; digests are the caller's (page_tree.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "store/segment_format.h"

namespace ckpt::store {

// Points into the parsed bytes.
struct NodeView {
  NodeHeader header;
  Reference base;                          // deltas only
  std::span<const std::uint16_t> indices;  // empty for a full node: entry i has index i
  std::span<const std::uint16_t> removed;
  std::span<const Reference> entries;

  bool is_delta() const { return header.kind == NodeKind::kDelta; }
  std::size_t index_of(std::size_t entry) const { return indices.empty() ? entry : indices[entry]; }
};

// Size in bytes that a node with this header has (whatever the header says; not validated).
std::size_t node_size(const NodeHeader& header);

// nullopt if the bytes are not exactly one valid node of `level`. `bytes` is aligned to 8.
std::optional<NodeView> parse_node(std::span<const std::byte> bytes, unsigned level);

void apply_node(const NodeView& node, Table& table);

std::vector<std::byte> encode_whole(unsigned level, const Table& table);

// `changed` lists the indices whose entries differ from the base, ascending; absent ones become removals.
std::vector<std::byte> encode_delta(unsigned level, unsigned chain, const Reference& base,
                                    std::span<const std::uint16_t> changed, const Table& table);

}  // namespace ckpt::store
