// The content of shared objects, as the store has it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/remote_addr.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

inline constexpr std::uint64_t kChunkBytes = 1 << 20;

// Hands out the content in pieces; the last one ends at the object's size.
template <typename Sink>
void for_each_piece(const image::SharedObjectT& object, const store::CheckpointReader& reader, Sink sink) {
  constexpr std::uint64_t kChunkPages = kChunkBytes / kPageSize;
  std::vector<std::byte> buffer;
  for (store::PageRun run : reader.runs(object.space)) {
    for (std::uint64_t done = 0; done < run.page_count; done += kChunkPages) {
      store::PageRun piece{run.first_page + done, std::min(kChunkPages, run.page_count - done)};
      std::uint64_t offset = piece.first_page * kPageSize;
      if (offset >= object.size) return;
      buffer.resize(piece.page_count * kPageSize);
      reader.read(object.space, piece, buffer);
      sink(std::span<const std::byte>(buffer).first(
               std::min<std::uint64_t>(buffer.size(), object.size - offset)),
           offset);
    }
  }
}

}  // namespace ckpt::engine
