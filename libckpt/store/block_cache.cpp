#include "store/block_cache.h"

#include <algorithm>

namespace ckpt::store {

BlockBytes BlockCache::find(Version segment, std::uint64_t block) {
  std::lock_guard lock(mutex_);
  auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.segment == segment && entry.block == block; });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return found->bytes;
}

void BlockCache::insert(Version segment, std::uint64_t block, BlockBytes bytes) {
  std::lock_guard lock(mutex_);
  entries_.push_front({.segment = segment, .block = block, .bytes = std::move(bytes)});
  if (entries_.size() > kBlocks) entries_.pop_back();
}

}  // namespace ckpt::store
