#include "engine/capture/page_buffer.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/error.h"

namespace ckpt::engine {

PageBuffer::PageBuffer() {
  void* memory =
      ::mmap(nullptr, kCapacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw_errno("reserve memory for copied pages");
  memory_ = static_cast<std::byte*>(memory);
  ::madvise(memory_, kCapacity, MADV_HUGEPAGE);
}

PageBuffer::~PageBuffer() { ::munmap(memory_, kCapacity); }

void PageBuffer::warm(std::size_t bytes) {
  std::size_t wanted = std::min(capacity_, used_ + bytes);
  if (wanted <= warm_) return;
  // A failure costs time in the pause, nothing else.
  ::madvise(memory_ + warm_, wanted - warm_, MADV_POPULATE_WRITE);
  warm_ = wanted / store::kPageBytes * store::kPageBytes;
}

std::span<std::byte> PageBuffer::take_room(std::size_t bytes) {
  std::span<std::byte> room(memory_ + used_, bytes);
  used_ += bytes;
  return room;
}

void PageBuffer::add(store::SpaceId space, std::uint64_t first_page, std::span<const std::byte> bytes) {
  if (!parts_.empty()) {
    Part& last = parts_.back();
    bool adjacent = last.space == space &&
                    last.first_page + last.bytes.size() / store::kPageBytes == first_page &&
                    last.bytes.data() + last.bytes.size() == bytes.data();
    if (adjacent) {
      last.bytes = {last.bytes.data(), last.bytes.size() + bytes.size()};
      return;
    }
  }
  parts_.push_back({.space = space, .first_page = first_page, .bytes = bytes});
}

void PageBuffer::flush(store::CheckpointWriter& writer) {
  for (const Part& part : parts_) writer.put(part.space, part.first_page, part.bytes);
  clear();
}

void PageBuffer::clear() {
  parts_.clear();
  used_ = 0;
}

}  // namespace ckpt::engine
