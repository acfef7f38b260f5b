#include "store/tree_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <vector>

#include "base/error.h"

namespace ckpt::store {
namespace {

using IndexSet = std::bitset<kFanout>;

IndexSet differences(const Table& a, const Table& b) {
  IndexSet result;
  for (std::size_t i = 0; i < kFanout; ++i) result[i] = a[i] != b[i];
  return result;
}

void add_indices(IndexSet& set, const NodeView& delta) {
  for (std::uint16_t index : delta.indices) set.set(index);
  for (std::uint16_t index : delta.removed) set.set(index);
}

std::vector<std::uint16_t> to_list(const IndexSet& set) {
  std::vector<std::uint16_t> list;
  for (std::size_t i = 0; i < kFanout; ++i) {
    if (set[i]) list.push_back(static_cast<std::uint16_t>(i));
  }
  return list;
}

std::size_t change_count(const NodeView& delta) { return delta.indices.size() + delta.removed.size(); }

void change(std::uint64_t& count, int by, std::uint32_t segment) {
  if (by < 0 && count == 0) {
    throw Error(fmt::format("the parent's manifest miscounts its use of version {}; start without a parent",
                            segment));
  }
  count += static_cast<std::uint64_t>(static_cast<std::int64_t>(by));
}

}  // namespace

UseCounts::UseCounts(const std::vector<SegmentUse>& parent) {
  for (const SegmentUse& use : parent) uses_.emplace(use.segment, use);
}

void UseCounts::change_pages(std::uint32_t segment, int by) {
  SegmentUse& use = uses_[segment];
  use.segment = segment;
  change(use.pages, by, segment);
}

void UseCounts::change_nodes(std::uint32_t segment, int by) {
  SegmentUse& use = uses_[segment];
  use.segment = segment;
  change(use.nodes, by, segment);
}

std::vector<SegmentUse> UseCounts::referenced() const {
  std::vector<SegmentUse> result;
  for (const auto& [segment, use] : uses_) {
    if (use.pages != 0 || use.nodes != 0) result.push_back(use);
  }
  return result;
}

std::optional<SpaceRoot> TreeBuilder::build(const SpaceRoot& old, Base base, PageChanges& changes) {
  base_ = base;
  page_count_ = static_cast<std::int64_t>(old.page_count);
  Reference root = build_node(old.root, kRootLevel, {.begin = changes.begin(), .end = changes.end()});
  if (!root.present()) return std::nullopt;
  return SpaceRoot{.id = old.id, .page_count = static_cast<std::uint64_t>(page_count_), .root = root};
}

Reference TreeBuilder::build_node(const Reference& old, unsigned level, Range changes) {
  if (level == 0) return build_leaf(old, changes);
  NodeChain old_chain = load_chain(old, level);
  Table old_table = table_of(old_chain);
  Table next = old_table;
  IndexSet touched;
  unsigned shift = kIndexBits * (level - 1);
  for (auto group = changes.begin; group != changes.end;) {
    std::uint64_t child = group->first >> shift;
    auto group_end =
        std::find_if(group, changes.end, [&](const auto& leaf) { return leaf.first >> shift != child; });
    std::size_t index = child & (kFanout - 1);
    next[index] = build_node(old_table[index], level - 1, {.begin = group, .end = group_end});
    touched.set(index);
    group = group_end;
  }
  for (std::size_t i = 0; i < kFanout; ++i) {
    if (touched[i] || !old_table[i].present()) continue;
    if (base_ == Base::kEmpty) {
      release_tree(old_table[i], level - 1);
      next[i] = Reference{};
    } else if (evacuation_.walks_everything()) {
      next[i] = build_node(old_table[i], level - 1, {.begin = changes.end, .end = changes.end});
    }
  }
  return finish_node(old_chain, old_table, next, level);
}

Reference TreeBuilder::build_leaf(const Reference& old, Range changes) {
  NodeChain old_chain = load_chain(old, 0);
  Table old_table = table_of(old_chain);
  Table next = base_ == Base::kEmpty ? Table{} : old_table;
  if (changes.begin != changes.end) {
    LeafChanges& leaf = changes.begin->second;
    bool spilled = leaf.spilled_count != 0;
    spill_.load(leaf);
    if (leaf.cleared) next = Table{};
    for (const PageChange& page : leaf.pages) next[page.index] = page.reference;
    if (!keeps_changes_) {
      std::vector<PageChange>().swap(leaf.pages);
    } else if (spilled) {
      spill_.store(leaf);
    }
  }
  count_pages(old_table, next);
  return finish_node(old_chain, old_table, next, 0);
}

Reference TreeBuilder::finish_node(const NodeChain& old_chain, const Table& old, const Table& next,
                                   unsigned level) {
  std::vector<bool> leaving = leaving_nodes(old_chain);
  bool stays = std::ranges::find(leaving, true) == leaving.end();
  if (next == old && stays) return old_chain.empty() ? Reference{} : old_chain.front().self;
  if (std::ranges::none_of(next, &Reference::present)) {
    release_nodes(old_chain);
    return {};
  }
  return write_node(old_chain, leaving, old, next, level);
}

Reference TreeBuilder::write_node(const NodeChain& old_chain, const std::vector<bool>& leaving,
                                  const Table& old, const Table& next, unsigned level) {
  auto whole = encode_whole(level, next);
  if (!old_chain.empty()) {
    IndexSet changed = differences(old, next);
    std::size_t deltas = old_chain.size() - 1;
    std::size_t absorbed = 0;
    while (absorbed < deltas &&
           (deltas - absorbed >= kMaxChain || changed.count() >= change_count(old_chain[absorbed].view))) {
      add_indices(changed, old_chain[absorbed].view);
      ++absorbed;
    }
    auto delta = encode_delta(level, static_cast<unsigned>(deltas - absorbed + 1), old_chain[absorbed].self,
                              to_list(changed), next);
    auto base = leaving.begin() + static_cast<std::ptrdiff_t>(absorbed);
    bool base_stays = std::find(base, leaving.end(), true) == leaving.end();
    if (delta.size() * 2 <= whole.size() && base_stays) {
      release_nodes(std::span(old_chain).first(absorbed));
      return append(std::move(delta));
    }
  }
  release_nodes(old_chain);
  return append(std::move(whole));
}

Reference TreeBuilder::append(std::vector<std::byte> node) {
  uses_.change_nodes(own_, 1);
  Reference reference{.segment = own_, .unit = sink_(node), .digest = digest_of(node)};
  cache_.insert(reference, std::make_shared<const std::vector<std::byte>>(std::move(node)));
  return reference;
}

NodeChain TreeBuilder::load_chain(const Reference& node, unsigned level) const {
  return node.present() ? parent_->load_chain(node, level) : NodeChain{};
}

std::vector<bool> TreeBuilder::leaving_nodes(const NodeChain& chain) {
  std::vector<bool> leaving;
  leaving.reserve(chain.size());
  for (const LoadedNode& node : chain) leaving.push_back(evacuation_.take_node(node.self.segment));
  return leaving;
}

void TreeBuilder::count_pages(const Table& old, const Table& next) {
  for (std::size_t i = 0; i < kFanout; ++i) {
    if (old[i] == next[i]) continue;
    if (old[i].present()) {
      uses_.change_pages(old[i].segment, -1);
      --page_count_;
    }
    if (next[i].present()) {
      uses_.change_pages(next[i].segment, 1);
      ++page_count_;
    }
  }
}

void TreeBuilder::release_nodes(std::span<const LoadedNode> nodes) {
  for (const LoadedNode& node : nodes) {
    uses_.change_nodes(node.self.segment, -1);
    cache_.erase(node.self);  // the next version is based on this one
  }
}

void TreeBuilder::release_tree(const Reference& node, unsigned level) {
  NodeChain chain = load_chain(node, level);
  Table table = table_of(chain);
  release_nodes(chain);
  if (level == 0) {
    count_pages(table, Table{});
    return;
  }
  for (const Reference& child : table) {
    if (child.present()) release_tree(child, level - 1);
  }
}

}  // namespace ckpt::store
