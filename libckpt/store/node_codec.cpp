#include "store/node_codec.h"

#include <algorithm>
#include <cstring>

namespace ckpt::store {
namespace {

template <typename T>
std::span<const T> view_as(std::span<const std::byte> bytes, std::size_t offset, std::size_t count) {
  return {reinterpret_cast<const T*>(bytes.data() + offset), count};
}

bool strictly_ascending(std::span<const std::uint16_t> indices) {
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] >= kFanout || (i > 0 && indices[i] <= indices[i - 1])) return false;
  }
  return true;
}

bool header_is_valid(const NodeHeader& header, unsigned level) {
  if (header.level != level || header.zero != 0) return false;
  if (header.entry_count > kFanout || header.removed_count > kFanout) return false;
  if (header.kind == NodeKind::kWhole)
    return header.chain == 0 && header.removed_count == 0 && header.entry_count > 0;
  return header.kind == NodeKind::kDelta && header.chain > 0 && header.chain <= kMaxChain;
}

std::size_t base_size(const NodeHeader& header) {
  return header.kind == NodeKind::kDelta ? sizeof(Reference) : 0;
}

std::size_t index_count(const NodeHeader& header) {
  bool full = header.kind == NodeKind::kWhole && header.entry_count == kFanout;
  return full ? 0U : std::size_t{header.entry_count} + header.removed_count;
}

std::size_t entries_offset(const NodeHeader& header) {
  return align_up(sizeof(NodeHeader) + base_size(header) + index_count(header) * sizeof(std::uint16_t),
                  kNodeUnit);
}

// Writes pieces one after the other into a buffer of the final size.
class Output {
 public:
  explicit Output(const NodeHeader& header) : bytes_(node_size(header)) { add(&header, sizeof header); }

  void add(const void* piece, std::size_t size) {
    if (size == 0) return;
    std::memcpy(bytes_.data() + position_, piece, size);
    position_ += size;
  }
  void add(std::span<const std::uint16_t> indices) { add(indices.data(), indices.size_bytes()); }
  void pad() { position_ = align_up(position_, kNodeUnit); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
  std::size_t position_ = 0;
};

void add_entries(Output& out, std::span<const std::uint16_t> indices, const Table& table) {
  out.pad();
  for (std::uint16_t index : indices) out.add(&table[index], sizeof(Reference));
}

}  // namespace

std::size_t node_size(const NodeHeader& header) {
  return entries_offset(header) + header.entry_count * sizeof(Reference);
}

std::optional<NodeView> parse_node(std::span<const std::byte> bytes, unsigned level) {
  NodeView node;
  if (bytes.size() < sizeof(NodeHeader)) return std::nullopt;
  std::memcpy(&node.header, bytes.data(), sizeof(NodeHeader));
  if (!header_is_valid(node.header, level) || bytes.size() != node_size(node.header)) return std::nullopt;
  std::size_t offset = sizeof(NodeHeader);
  if (node.is_delta()) {
    std::memcpy(&node.base, bytes.data() + offset, sizeof(Reference));
    offset += sizeof(Reference);
    if (!node.base.present()) return std::nullopt;
  }
  if (index_count(node.header) != 0) {
    node.indices = view_as<std::uint16_t>(bytes, offset, node.header.entry_count);
    node.removed =
        view_as<std::uint16_t>(bytes, offset + node.indices.size_bytes(), node.header.removed_count);
  }
  node.entries = view_as<Reference>(bytes, entries_offset(node.header), node.header.entry_count);
  if (!strictly_ascending(node.indices) || !strictly_ascending(node.removed)) return std::nullopt;
  if (!std::ranges::all_of(node.entries, &Reference::present)) return std::nullopt;
  return node;
}

void apply_node(const NodeView& node, Table& table) {
  for (std::uint16_t index : node.removed) table[index] = Reference{};
  for (std::size_t i = 0; i < node.entries.size(); ++i) table[node.index_of(i)] = node.entries[i];
}

std::vector<std::byte> encode_whole(unsigned level, const Table& table) {
  std::vector<std::uint16_t> indices;
  for (std::size_t i = 0; i < kFanout; ++i) {
    if (table[i].present()) indices.push_back(static_cast<std::uint16_t>(i));
  }
  NodeHeader header{.level = static_cast<std::uint8_t>(level),
                    .entry_count = static_cast<std::uint16_t>(indices.size())};
  Output out(header);
  if (indices.size() < kFanout) out.add(indices);
  add_entries(out, indices, table);
  return out.take();
}

std::vector<std::byte> encode_delta(unsigned level, unsigned chain, const Reference& base,
                                    std::span<const std::uint16_t> changed, const Table& table) {
  std::vector<std::uint16_t> present;
  std::vector<std::uint16_t> removed;
  for (std::uint16_t index : changed) (table[index].present() ? present : removed).push_back(index);
  NodeHeader header{.level = static_cast<std::uint8_t>(level),
                    .kind = NodeKind::kDelta,
                    .chain = static_cast<std::uint8_t>(chain),
                    .entry_count = static_cast<std::uint16_t>(present.size()),
                    .removed_count = static_cast<std::uint16_t>(removed.size())};
  Output out(header);
  out.add(&base, sizeof base);
  out.add(present);
  out.add(removed);
  add_entries(out, present, table);
  return out.take();
}

}  // namespace ckpt::store
