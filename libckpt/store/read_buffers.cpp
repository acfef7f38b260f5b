#include "store/read_buffers.h"

#include <sys/mman.h>

#include <new>

#include "store/system_calls.h"

namespace ckpt::store {

ReadBuffers::Memory ReadBuffers::take() {
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      Memory memory = std::move(free_.back());
      free_.pop_back();
      return memory;
    }
    free_.reserve(free_.capacity() + 1);  // so that put_back needs no memory
  }
  Memory memory(static_cast<std::byte*>(std::aligned_alloc(kBytes, kBytes)));
  if (!memory) throw std::bad_alloc();
  // A huge page is one piece for the device. Refused: only slower.
  system_calls().madvise(memory.get(), kBytes, MADV_HUGEPAGE);
  return memory;
}

void ReadBuffers::put_back(Memory memory) noexcept {
  std::lock_guard lock(mutex_);
  if (free_.size() < free_.capacity()) free_.push_back(std::move(memory));
}

}  // namespace ckpt::store
