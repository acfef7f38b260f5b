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
  std::size_t wanted = std::min(kCapacity, used_ + bytes);
  if (wanted <= warm_) return;
  // A failure costs time in the pause, nothing else.
  ::madvise(memory_ + warm_, wanted - warm_, MADV_POPULATE_WRITE);
  warm_ = wanted / store::kPageBytes * store::kPageBytes;
}

void PageBuffer::add(store::SpaceId space, std::uint64_t first_page, std::uint64_t page_count) {
  used_ += page_count * store::kPageBytes;
  if (!parts_.empty() && parts_.back().space == space &&
      parts_.back().first_page + parts_.back().page_count == first_page) {
    parts_.back().page_count += page_count;
  } else {
    parts_.push_back({.space = space, .first_page = first_page, .page_count = page_count});
  }
}

void PageBuffer::flush(store::CheckpointWriter& writer) {
  std::size_t at = 0;
  for (const Part& part : parts_) {
    std::size_t size = part.page_count * store::kPageBytes;
    writer.put(part.space, part.first_page, {memory_ + at, size});
    at += size;
  }
  clear();
}

void PageBuffer::clear() {
  parts_.clear();
  used_ = 0;
}

}  // namespace ckpt::engine
