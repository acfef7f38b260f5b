// Where the blocks of a compressed segment are. Four bytes of memory per block.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "store/segment_format.h"

namespace ckpt::store {

struct StoredBlock {
  std::uint64_t offset = 0;  // in the file
  std::size_t stored_bytes = 0;
  std::size_t bytes = 0;  // when decompressed
  Codec codec = Codec::kRaw;
};

class BlockTable {
 public:
  // nullopt if the entries do not describe `page_count` pages in exactly `page_bytes` bytes.
  static std::optional<BlockTable> create(std::vector<BlockEntry> entries, std::uint64_t page_count,
                                          std::uint64_t page_bytes);

  // `block` is less than the number of blocks.
  StoredBlock find(std::uint64_t block) const;

 private:
  static constexpr std::uint64_t kStride = 64;
  std::size_t bytes_of(std::uint64_t block) const;

  std::vector<BlockEntry> entries_;
  std::vector<std::uint64_t> offsets_;  // of every kStride-th block
  std::uint64_t page_count_ = 0;
};

}  // namespace ckpt::store
