#include "store/page_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "store/store_file.h"

namespace ckpt::store {
namespace {

constexpr std::size_t kMaxCachedNodes = 512;  // 12 KiB each
// A whole node, so that a cold one takes one read.
constexpr std::size_t kFirstReadBytes = 13U << 10;

Error damaged_node(const Segment& segment, const Reference& node, const char* what) {
  return damaged(segment.path(), fmt::format("page-tree node {} {}", node.unit, what));
}

}  // namespace

struct PageTreeReader::Walk {
  std::uint64_t first_leaf;
  std::uint64_t last_leaf;
  std::uint64_t pages_left;
  const LeafVisitor& visit;
};

struct PageTreeReader::NumberWalk {
  std::uint64_t leaves_left;
  const LeafFilter& skip;
  const LeafNumberVisitor& visit;
};

Table table_of(const NodeChain& chain) {
  Table table{};
  for (auto node = chain.rbegin(); node != chain.rend(); ++node) apply_node(node->view, table);
  return table;
}

LoadedNode PageTreeReader::load_node(const Reference& node, unsigned level) const {
  const Segment* segment = segments_->find(node.segment);
  if (segment == nullptr) {
    throw damaged(segments_->all().back()->path(),
                  fmt::format("it refers to version {}, which it does not list", node.segment));
  }
  LoadedNode loaded{.self = node, .bytes = cache_ ? cache_->find(node) : nullptr, .view = {}};
  bool cached = loaded.bytes != nullptr;
  if (!cached) loaded.bytes = read_node(node, *segment);
  auto view = parse_node(*loaded.bytes, level);
  if (!view) throw damaged_node(*segment, node, "is malformed");
  loaded.view = *view;
  if (!cached && cache_) cache_->insert(node, loaded.bytes);
  return loaded;
}

NodeBytes PageTreeReader::read_node(const Reference& node, const Segment& segment) const {
  std::uint64_t offset = std::uint64_t{node.unit} * kNodeUnit;
  if (offset >= segment.node_bytes()) throw damaged_node(segment, node, "lies outside the file's nodes");
  std::uint64_t available = segment.node_bytes() - offset;
  std::vector<std::byte> bytes(std::min(available, kFirstReadBytes));
  segment.read_nodes(offset, bytes);
  NodeHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  // A node with more than 512 entries would be refused below; refuse it before allocating for it.
  std::size_t size = node_size(header);
  if (size > available || header.entry_count > kFanout) throw damaged_node(segment, node, "is malformed");
  std::size_t have = std::min(size, bytes.size());
  bytes.resize(size);
  segment.read_nodes(offset + have, std::span(bytes).subspan(have));
  if (digest_of(bytes) != node.digest) throw damaged_node(segment, node, "does not match its digest");
  bytes.shrink_to_fit();
  return std::make_shared<const std::vector<std::byte>>(std::move(bytes));
}

NodeChain PageTreeReader::load_chain(const Reference& newest, unsigned level) const {
  NodeChain chain;
  chain.push_back(load_node(newest, level));
  while (chain.back().view.is_delta()) {
    unsigned below = chain.back().view.header.chain - 1U;
    LoadedNode next = load_node(chain.back().view.base, level);
    if (next.view.header.chain != below) {
      throw damaged_node(*segments_->find(next.self.segment), next.self,
                         "is in the wrong place of its chain");
    }
    chain.push_back(std::move(next));
  }
  return chain;
}

std::shared_ptr<const Table> PageTreeReader::load(const Reference& node, unsigned level) const {
  std::uint64_t key = node.place();
  if (level > 0) {
    std::lock_guard lock(mutex_);
    auto found = inner_.find(key);
    if (found != inner_.end()) return found->second;
  } else if (tables_) {
    if (auto found = tables_->find(node)) return found;
  }
  auto table = std::make_shared<const Table>(table_of(load_chain(node, level)));
  if (std::ranges::none_of(*table, &Reference::present)) {
    throw damaged_node(*segments_->find(node.segment), node, "is empty");
  }
  if (level > 0) {
    std::lock_guard lock(mutex_);
    if (inner_.size() < kMaxCachedNodes) inner_.emplace(key, table);
  } else if (tables_) {
    tables_->insert(node, table);
  }
  return table;
}

std::shared_ptr<const Table> PageTreeReader::find_leaf(const SpaceRoot& space, std::uint64_t leaf) const {
  Reference node = space.root;
  for (unsigned level = kRootLevel; level > 0; --level) {
    std::uint64_t index = leaf >> (kIndexBits * (level - 1)) & (kFanout - 1);
    node = (*load(node, level))[index];
    if (!node.present()) return nullptr;
  }
  return load(node, 0);
}

void PageTreeReader::walk(Walk& state, const Reference& node, unsigned level, std::uint64_t prefix) const {
  auto table = load(node, level);
  if (level == 0) {
    auto pages = static_cast<std::uint64_t>(std::ranges::count_if(*table, &Reference::present));
    if (pages > state.pages_left) {
      throw damaged_node(*segments_->find(node.segment), node,
                         "belongs to a tree with more pages than its space has");
    }
    state.pages_left -= pages;
    state.visit(prefix, *table);
    return;
  }
  unsigned shift = kIndexBits * (level - 1);
  for (std::size_t i = 0; i < kFanout; ++i) {
    std::uint64_t child = prefix << kIndexBits | i;
    std::uint64_t child_first = child << shift;
    std::uint64_t child_last = child_first | ((1ULL << shift) - 1);
    if (!(*table)[i].present() || child_last < state.first_leaf || child_first > state.last_leaf) continue;
    walk(state, (*table)[i], level - 1, child);
  }
}

void PageTreeReader::visit_leaves(const SpaceRoot& space, std::uint64_t first_leaf, std::uint64_t last_leaf,
                                  const LeafVisitor& visit) const {
  Walk state{
      .first_leaf = first_leaf, .last_leaf = last_leaf, .pages_left = space.page_count, .visit = visit};
  walk(state, space.root, kRootLevel, 0);
}

void PageTreeReader::walk_numbers(NumberWalk& state, const Reference& node, unsigned level,
                                  std::uint64_t prefix) const {
  auto table = load(node, level);
  unsigned shift = kIndexBits * (level - 1);
  for (std::size_t i = 0; i < kFanout; ++i) {
    std::uint64_t child = prefix << kIndexBits | i;
    std::uint64_t child_first = child << shift;
    if (!(*table)[i].present() || state.skip(child_first, child_first | ((1ULL << shift) - 1))) continue;
    if (level > 1) {
      walk_numbers(state, (*table)[i], level - 1, child);
      continue;
    }
    if (state.leaves_left == 0) {
      throw damaged_node(*segments_->find(node.segment), node,
                         "belongs to a tree with more leaves than its space has pages");
    }
    --state.leaves_left;
    state.visit(child);
  }
}

void PageTreeReader::visit_leaf_numbers(const SpaceRoot& space, const LeafFilter& skip,
                                        const LeafNumberVisitor& visit) const {
  NumberWalk state{.leaves_left = space.page_count, .skip = skip, .visit = visit};
  walk_numbers(state, space.root, kRootLevel, 0);
}

}  // namespace ckpt::store
