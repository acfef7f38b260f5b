#include "engine/resource/ring_memory.h"

#include <fmt/format.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/error.h"
#include "base/remote_addr.h"

namespace ckpt::engine::resource {
namespace {

// struct io_rings of the kernel: heads and tails, masks, counters, then completions. Never changed since 5.4,
// and io_uring_setup() tells the same in sq_off and cq_off.
constexpr std::size_t kSubmissionTail = 4;
constexpr std::size_t kCompletionHead = 8;
constexpr std::size_t kCompletionTail = 12;
constexpr std::uint64_t kCompletionsOffset = 64;
constexpr std::uint64_t kCacheLine = 64;
constexpr std::uint64_t kCompletionBytes = sizeof(io_uring_cqe);
constexpr std::uint64_t kRequestBytes = 64;

}  // namespace

RingMemory::RingMemory(int ring, std::uint64_t offset, std::uint64_t size_bytes)
    : address_(::mmap(nullptr, page_ceil(size_bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
                      static_cast<off_t>(offset))),
      size_(page_ceil(size_bytes)) {
  if (address_ == MAP_FAILED) throw_errno("map the memory of an io_uring");
}

RingMemory::~RingMemory() { ::munmap(address_, size_); }

std::uint32_t RingMemory::word(std::size_t offset) const {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes().data() + offset, sizeof value);
  return value;
}

void RingMemory::set_word(std::size_t offset, std::uint32_t value) const {
  std::memcpy(bytes().data() + offset, &value, sizeof value);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

std::uint64_t index_array_offset(std::uint32_t completion_entries) {
  std::uint64_t end = kCompletionsOffset + completion_entries * kCompletionBytes;
  return (end + kCacheLine - 1) / kCacheLine * kCacheLine;
}

std::uint64_t rings_bytes(std::uint32_t entries, std::uint32_t completion_entries) {
  return index_array_offset(completion_entries) + entries * sizeof(std::uint32_t);
}

std::uint64_t requests_bytes(std::uint32_t entries) { return entries * kRequestBytes; }

std::vector<std::unique_ptr<image::RingRegionT>> copy_ring_memory(int ring, std::uint32_t entries,
                                                                  std::uint32_t completion_entries) {
  std::vector<std::unique_ptr<image::RingRegionT>> regions;
  auto copy = [&](std::uint64_t offset, std::uint64_t size_bytes) {
    RingMemory memory(ring, offset, size_bytes);
    auto region = std::make_unique<image::RingRegionT>();
    region->offset = offset;
    region->content.resize(size_bytes);
    std::memcpy(region->content.data(), memory.bytes().data(), size_bytes);
    regions.push_back(std::move(region));
  };
  copy(IORING_OFF_SQ_RING, rings_bytes(entries, completion_entries));
  copy(IORING_OFF_SQES, requests_bytes(entries));
  return regions;
}

void write_ring_memory(int ring, const std::vector<std::unique_ptr<image::RingRegionT>>& regions) {
  for (const auto& region : regions) {
    RingMemory memory(ring, region->offset, region->content.size());
    std::memcpy(memory.bytes().data(), region->content.data(), region->content.size());
  }
}

void advance_ring(int ring, std::uint32_t entries, std::uint32_t completion_entries, std::uint32_t count) {
  RingMemory rings(ring, IORING_OFF_SQ_RING, rings_bytes(entries, completion_entries));
  RingMemory requests(ring, IORING_OFF_SQES, requests_bytes(entries));
  std::ranges::fill(requests.bytes(), std::byte{0});  // IORING_OP_NOP
  for (std::uint32_t done = 0; done < count;) {
    std::uint32_t batch = std::min(entries, count - done);
    rings.set_word(kSubmissionTail, done + batch);
    long taken = ::syscall(SYS_io_uring_enter, ring, batch, batch, IORING_ENTER_GETEVENTS, nullptr, 0);
    if (taken <= 0) throw_errno("let an io_uring count");
    done += static_cast<std::uint32_t>(taken);
    rings.set_word(kCompletionHead, rings.word(kCompletionTail));
  }
}

}  // namespace ckpt::engine::resource
