// Aligned memory for direct reads, kept between reads: first touch of fresh memory costs more than the copy.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace ckpt::store {

// Thread-safe. Holds as many buffers as were in use at once.
class ReadBuffers {
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;

 public:
  static constexpr std::size_t kBytes = 2U << 20;

  // Borrowed; goes back on destruction.
  class Buffer {
   public:
    explicit Buffer(ReadBuffers& owner) : owner_(owner), memory_(owner.take()) {}
    ~Buffer() { owner_.put_back(std::move(memory_)); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    std::span<std::byte> bytes() { return {memory_.get(), kBytes}; }

   private:
    ReadBuffers& owner_;
    Memory memory_;
  };

 private:
  Memory take();
  void put_back(Memory memory) noexcept;

  std::mutex mutex_;
  std::vector<Memory> free_;
};

}  // namespace ckpt::store
