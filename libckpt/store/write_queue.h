// Writes a file front to back with large aligned writes in a thread of its own, while the caller fills the
// next buffer.
//
// Hard rules: a failed write is never repeated; after it nothing more is written. The descriptor stays the
// caller's and must outlive the queue.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "store/background_threads.h"

namespace ckpt::store {

// Aligned, and kept between writers: first touch of fresh memory costs more than the copy.
class OutputBuffers {
 public:
  static constexpr std::size_t kBytes = 4U << 20;
  static constexpr std::size_t kCount = 4;
  OutputBuffers();
  std::byte* data(std::size_t index) { return buffers_[index].get(); }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::array<std::unique_ptr<std::byte, Free>, kCount> buffers_;
};

// For one caller.
class WriteQueue {
 public:
  // `buffers` are used by one queue at a time.
  WriteQueue(int fd, std::shared_ptr<OutputBuffers> buffers, BackgroundPriority& priority);
  // Gives up what is not written yet.
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  // OutputBuffers::kBytes to fill. Valid until submit.
  std::byte* buffer() { return buffers_->data(current_); }
  // Queues the whole buffer; waits for another one if all are queued. Returns 0, or the errno with which a
  // write has failed.
  int submit();
  // Writes what is queued, then the first `size` bytes of the buffer (a multiple of 4096). Result as
  // submit's.
  int finish(std::size_t size);

  // Gives up what is not written yet; it stays readable.
  void stop_writing();

  // Thread-safe: copies what stands at `offset` of the file (within one buffer) and is not written yet;
  // false: it is.
  bool copy_unwritten(std::uint64_t offset, std::span<std::byte> out);
  // Where the buffers belong, in the file, that are not written.
  std::vector<std::uint64_t> unwritten();

 private:
  void run();
  void stop();

  int fd_;
  std::shared_ptr<OutputBuffers> buffers_;
  BackgroundPriority& priority_;
  std::size_t current_ = 0;      // buffers are used in turn
  std::uint64_t submitted_ = 0;  // in buffers
  std::thread thread_;           // started by the first submit

  std::mutex mutex_;
  std::condition_variable changed_;
  // Under mutex_:
  std::uint64_t queued_ = 0;   // in buffers
  std::uint64_t written_ = 0;  // in buffers
  int error_ = 0;
  enum class Order { kWrite, kFinish, kGiveUp } order_ = Order::kWrite;
};

}  // namespace ckpt::store
