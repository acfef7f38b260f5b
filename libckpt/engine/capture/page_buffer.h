// Pages copied while the program stood still, waiting to be given to the store when it runs again.
//
// The memory is kept, and stays touched, between checkpoints: the first touch of fresh memory costs as much
// as several copies of a page, and would be part of the pause.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

class PageBuffer {
 public:
  static constexpr std::size_t kCapacity = std::size_t{48} << 20;

  PageBuffer();
  ~PageBuffer();
  PageBuffer(const PageBuffer&) = delete;
  PageBuffer& operator=(const PageBuffer&) = delete;

  // Touches memory for `bytes` more, so that claiming them costs nothing. Not during a pause.
  void warm(std::size_t bytes);
  // From now on no more than this, at most kCapacity; what does not fit is not copied, but stored at once.
  void limit(std::size_t bytes) { capacity_ = bytes; }
  std::size_t free_bytes() const { return capacity_ - used_; }
  // Where further pages are to be copied, at most free_bytes(); the room is taken, whatever is put there.
  std::span<std::byte> take_room(std::size_t bytes);
  // `bytes`, in room that was taken, are these pages.
  void add(store::SpaceId space, std::uint64_t first_page, std::span<const std::byte> bytes);
  // Gives all pages to `writer` and is empty afterwards.
  void flush(store::CheckpointWriter& writer);
  void clear();

 private:
  struct Part {
    store::SpaceId space;
    std::uint64_t first_page;
    std::span<const std::byte> bytes;
  };

  std::byte* memory_;
  std::size_t capacity_ = kCapacity;
  std::size_t used_ = 0;
  std::size_t warm_ = 0;
  std::vector<Part> parts_;
};

}  // namespace ckpt::engine
