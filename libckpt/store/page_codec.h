// Compression of one block of pages.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "store/checkpoint_store.h"
#include "store/segment_format.h"

namespace ckpt::store {

// For one thread at a time.
class BlockCompressor {
 public:
  // Throws Error for a level that the method does not have, and for kNone.
  explicit BlockCompressor(const WriteOptions& options);
  ~BlockCompressor();
  BlockCompressor(const BlockCompressor&) = delete;
  BlockCompressor& operator=(const BlockCompressor&) = delete;

  Codec codec() const { return codec_; }
  // Size of what was put into `out`; nullopt if that is no smaller than `block` or does not fit.
  std::optional<std::size_t> compress(std::span<const std::byte> block, std::span<std::byte> out) noexcept;

 private:
  struct State;
  Codec codec_;
  int level_;
  std::unique_ptr<State> state_;
};

// Whether `stored` was exactly `block` in compressed form. Any bytes may be given.
bool decompress(Codec codec, std::span<const std::byte> stored, std::span<std::byte> block) noexcept;

}  // namespace ckpt::store
