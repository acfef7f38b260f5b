// The content of shared objects and files, as the store has it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/remote_addr.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

inline constexpr std::uint64_t kChunkBytes = 1 << 20;

struct ContentPlace {
  store::SpaceId space = 0;
  std::uint64_t size = 0;   // bytes
  const std::string& name;  // for messages
};

// Gives the store the content of the file that `fd`, which is open for reading, refers to; holes cost
// nothing. Its offset stays.
void put_content(store::CheckpointWriter& writer, const ContentPlace& place, int fd);

// Hands out the content in pieces; the last one ends at the object's size.
template <typename Sink>
void for_each_piece(const ContentPlace& object, const store::CheckpointReader& reader, Sink sink) {
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

template <typename Sink>
void for_each_piece(const image::SharedObjectT& object, const store::CheckpointReader& reader, Sink sink) {
  for_each_piece(ContentPlace{.space = object.space, .size = object.size, .name = object.name}, reader, sink);
}

}  // namespace ckpt::engine
