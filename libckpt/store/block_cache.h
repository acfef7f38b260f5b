// The blocks that were decompressed last, so that pages read one by one do not decompress their neighbours
// again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::store {

using BlockBytes = std::shared_ptr<const std::vector<std::byte>>;

// Thread-safe.
class BlockCache {
 public:
  static constexpr std::size_t kBlocks = 32;  // 2 MiB

  BlockBytes find(Version segment, std::uint64_t block);  // nullptr if it is not there
  void insert(Version segment, std::uint64_t block, BlockBytes bytes);

 private:
  struct Entry {
    Version segment;
    std::uint64_t block;
    BlockBytes bytes;
  };

  std::mutex mutex_;
  std::list<Entry> entries_;  // used last first
};

}  // namespace ckpt::store
