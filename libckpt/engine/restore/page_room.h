#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "base/remote_addr.h"

namespace ckpt::engine {

// Room for pages, at a page boundary: what the store reads into fastest. Keeps its memory, which is touched
// by then, until more is needed.
class PageRoom {
 public:
  std::span<std::byte> pages(std::uint64_t count) {
    if (count > count_) {
      bytes_.reset();
      bytes_.reset(static_cast<std::byte*>(::operator new(count* kPageSize, kAlignment)));
      count_ = count;
    }
    return {bytes_.get(), count * kPageSize};
  }

 private:
  static constexpr std::align_val_t kAlignment{kPageSize};
  struct Delete {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, kAlignment); }
  };

  std::unique_ptr<std::byte, Delete> bytes_;
  std::uint64_t count_ = 0;
};

}  // namespace ckpt::engine
