#include "store/block_pipeline.h"

#include <algorithm>
#include <system_error>

namespace ckpt::store {

BlockPipeline::BlockPipeline(const WriteOptions& options, BackgroundPriority& priority, Sink sink)
    : options_(options), priority_(priority), sink_(std::move(sink)), own_(options) {}

BlockPipeline::~BlockPipeline() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void BlockPipeline::append(std::span<const std::byte> page) {
  Slot& current = slot(filled_);
  current.block.reserve(kBlockBytes);
  current.block.insert(current.block.end(), page.begin(), page.end());
  if (current.block.size() == kBlockBytes) submit();
}

void BlockPipeline::finish() {
  if (!slot(filled_).block.empty()) submit();
  deliver_done(0);
}

void BlockPipeline::submit() {
  // One core is left to the program, unless the checkpoint is late.
  std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  std::size_t wanted = priority_.hurried() ? cores : std::max<std::size_t>(1, cores - 1);
  bool has_worker = workers_.size() >= wanted || add_worker() || !workers_.empty();
  if (!has_worker) compress(slot(filled_), own_);
  {
    std::lock_guard lock(mutex_);
    slot(filled_).done = !has_worker;
    ++filled_;
    if (!has_worker) taken_ = filled_;
  }
  changed_.notify_all();
  deliver_done(kSlots - 1);
}

bool BlockPipeline::add_worker() {
  try {
    compressors_.push_back(std::make_unique<BlockCompressor>(options_));
    BlockCompressor& compressor = *compressors_.back();
    workers_.push_back(start_background_thread(priority_, [this, &compressor] { work(compressor); }));
    return true;
  } catch (const std::system_error&) {
    return false;  // no more threads for this user
  }
}

void BlockPipeline::deliver_done(std::uint64_t most_waiting) {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (filled_ == delivered_) return;
      Slot& next = slot(delivered_);
      if (!next.done && filled_ - delivered_ <= most_waiting) return;
      changed_.wait(lock, [&] { return next.done; });
    }
    deliver(slot(delivered_));
  }
}

void BlockPipeline::deliver(Slot& slot) {
  bool raw = slot.codec == Codec::kRaw;
  std::span<const std::byte> stored =
      raw ? std::span(slot.block) : std::span(slot.stored).first(slot.stored_bytes);
  table_.emplace_back(slot.codec, stored.size());
  sink_(stored);
  slot.block.clear();
  slot.done = false;
  ++delivered_;
}

void BlockPipeline::work(BlockCompressor& compressor) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || taken_ < filled_; });
    if (stopping_) return;
    Slot& mine = slot(taken_++);
    lock.unlock();
    compress(mine, compressor);
    lock.lock();
    mine.done = true;
    changed_.notify_all();
  }
}

void BlockPipeline::compress(Slot& slot, BlockCompressor& compressor) noexcept {
  if (slot.stored.empty()) slot.stored.resize(kBlockBytes);
  auto size = compressor.compress(slot.block, slot.stored);
  slot.codec = size ? compressor.codec() : Codec::kRaw;
  slot.stored_bytes = size.value_or(0);
}

}  // namespace ckpt::store
