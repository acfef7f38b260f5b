// The memory that an io_uring shares with its program (io_uring(7)), as this kernel lays it out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "image_generated.h"

namespace ckpt::engine::resource {

// One of its parts, mapped here.
class RingMemory {
 public:
  RingMemory(int ring, std::uint64_t offset, std::uint64_t size_bytes);
  ~RingMemory();
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;

  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(address_), size_}; }
  std::uint32_t word(std::size_t offset) const;
  void set_word(std::size_t offset, std::uint32_t value) const;  // visible to the kernel before a later call

 private:
  void* address_;
  std::size_t size_;
};

// How large the part with both rings is, and where the array of submission indices begins in it.
std::uint64_t rings_bytes(std::uint32_t entries, std::uint32_t completion_entries);
std::uint64_t index_array_offset(std::uint32_t completion_entries);
std::uint64_t requests_bytes(std::uint32_t entries);

std::vector<std::unique_ptr<image::RingRegionT>> copy_ring_memory(int ring, std::uint32_t entries,
                                                                  std::uint32_t completion_entries);
void write_ring_memory(int ring, const std::vector<std::unique_ptr<image::RingRegionT>>& regions);

// Lets a fresh ring complete `count` requests that do nothing, so that it counts on from there.
void advance_ring(int ring, std::uint32_t entries, std::uint32_t completion_entries, std::uint32_t count);

}  // namespace ckpt::engine::resource
