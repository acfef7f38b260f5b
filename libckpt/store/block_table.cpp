#include "store/block_table.h"

#include <algorithm>

#include "store/checkpoint_store.h"

namespace ckpt::store {

std::optional<BlockTable> BlockTable::create(std::vector<BlockEntry> entries, std::uint64_t page_count,
                                             std::uint64_t page_bytes) {
  if (entries.size() != block_count(page_count)) return std::nullopt;
  BlockTable table;
  table.entries_ = std::move(entries);
  table.page_count_ = page_count;
  std::uint64_t offset = 0;
  for (std::uint64_t block = 0; block < table.entries_.size(); ++block) {
    if (block % kStride == 0) table.offsets_.push_back(offset);
    const BlockEntry& entry = table.entries_[block];
    std::size_t bytes = table.bytes_of(block);
    bool raw = entry.codec() == Codec::kRaw;
    bool known = raw || entry.codec() == Codec::kLz4 || entry.codec() == Codec::kZstd;
    if (!known || entry.stored_bytes() == 0 ||
        (raw ? entry.stored_bytes() != bytes : entry.stored_bytes() >= bytes)) {
      return std::nullopt;
    }
    offset += entry.stored_bytes();
  }
  if (align_up(offset, kNodeUnit) != page_bytes) return std::nullopt;
  return table;
}

std::size_t BlockTable::bytes_of(std::uint64_t block) const {
  std::uint64_t pages = std::min(kBlockPages, page_count_ - block * kBlockPages);
  return static_cast<std::size_t>(pages) * kPageBytes;
}

StoredBlock BlockTable::find(std::uint64_t block) const {
  std::uint64_t offset = offsets_[block / kStride];
  for (std::uint64_t i = block / kStride * kStride; i < block; ++i) offset += entries_[i].stored_bytes();
  return {.offset = offset,
          .stored_bytes = entries_[block].stored_bytes(),
          .bytes = bytes_of(block),
          .codec = entries_[block].codec()};
}

}  // namespace ckpt::store
