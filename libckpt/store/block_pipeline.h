// Compresses blocks of pages in threads of low priority while the caller puts on; hands them over in order.
//
// A ring of slots: the caller fills them, workers take them in order, the caller delivers those that are done
// in order. Memory is bounded by the ring.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "store/background_threads.h"
#include "store/checkpoint_store.h"
#include "store/page_codec.h"
#include "store/segment_format.h"

namespace ckpt::store {

// For one caller.
class BlockPipeline {
 public:
  // Called in the caller's thread by append and finish; may throw.
  using Sink = std::function<void(std::span<const std::byte> stored)>;

  // Throws Error if the options do not name a method and a level of it.
  BlockPipeline(const WriteOptions& options, BackgroundPriority& priority, Sink sink);
  // Gives up what is not delivered.
  ~BlockPipeline();
  BlockPipeline(const BlockPipeline&) = delete;
  BlockPipeline& operator=(const BlockPipeline&) = delete;

  void append(std::span<const std::byte> page);
  // Delivers everything. Nothing may be appended after it.
  void finish();
  const std::vector<BlockEntry>& table() const { return table_; }

 private:
  static constexpr std::size_t kSlots = 32;  // of 128 KiB
  struct Slot {
    std::vector<std::byte> block;   // what was appended so far
    std::vector<std::byte> stored;  // kBlockBytes
    std::size_t stored_bytes = 0;
    Codec codec = Codec::kRaw;
    bool done = false;  // under mutex_
  };

  Slot& slot(std::uint64_t block) { return slots_[block % kSlots]; }
  void submit();
  void deliver_done(std::uint64_t most_waiting);
  void deliver(Slot& slot);
  bool add_worker();
  void work(BlockCompressor& compressor);
  static void compress(Slot& slot, BlockCompressor& compressor) noexcept;

  WriteOptions options_;
  BackgroundPriority& priority_;
  Sink sink_;
  std::array<Slot, kSlots> slots_;
  std::vector<BlockEntry> table_;
  std::uint64_t delivered_ = 0;  // in blocks
  BlockCompressor own_;          // used where no thread can be started
  std::vector<std::unique_ptr<BlockCompressor>> compressors_;
  std::vector<std::thread> workers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Under mutex_:
  std::uint64_t filled_ = 0;  // in blocks
  std::uint64_t taken_ = 0;   // in blocks
  bool stopping_ = false;
};

}  // namespace ckpt::store
