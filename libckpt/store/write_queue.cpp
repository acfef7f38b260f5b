#include "store/write_queue.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <system_error>

#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

constexpr std::size_t kHugePageBytes = 2U << 20;

}  // namespace

OutputBuffers::OutputBuffers() {
  for (auto& buffer : buffers_) {
    buffer.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePageBytes, kBytes)));
    if (!buffer) throw std::bad_alloc();
    // One piece per huge page instead of 512 makes a direct write up to twice as fast. Refused: only slower.
    system_calls().madvise(buffer.get(), kBytes, MADV_HUGEPAGE);
  }
}

WriteQueue::WriteQueue(int fd, std::shared_ptr<OutputBuffers> buffers, BackgroundPriority& priority)
    : fd_(fd), buffers_(std::move(buffers)), priority_(priority) {}

WriteQueue::~WriteQueue() { stop_writing(); }

void WriteQueue::stop_writing() {
  {
    std::lock_guard lock(mutex_);
    order_ = Order::kGiveUp;
  }
  stop();
}

void WriteQueue::stop() {
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

int WriteQueue::submit() {
  if (!thread_.joinable()) {
    try {
      thread_ = start_background_thread(priority_, [this] { run(); });
    } catch (const std::system_error&) {
      // No more threads for this user: the writes are then made here, one after the other.
      int error =
          write_exactly(fd_, std::span(buffer(), OutputBuffers::kBytes), submitted_ * OutputBuffers::kBytes);
      ++submitted_;
      std::lock_guard lock(mutex_);
      queued_ = submitted_;
      if (error == 0) written_ = submitted_;
      return error_ = error;
    }
  }
  std::unique_lock lock(mutex_);
  queued_ = ++submitted_;
  current_ = submitted_ % OutputBuffers::kCount;
  changed_.notify_all();
  changed_.wait(lock, [&] { return error_ != 0 || queued_ - written_ < OutputBuffers::kCount; });
  return error_;
}

int WriteQueue::finish(std::size_t size) {
  {
    std::lock_guard lock(mutex_);
    order_ = Order::kFinish;
  }
  stop();
  if (error_ != 0) return error_;
  error_ = write_exactly(fd_, std::span(buffer(), size), submitted_ * OutputBuffers::kBytes);
  std::lock_guard lock(mutex_);
  if (error_ == 0) written_ = submitted_ + 1;
  return error_;
}

bool WriteQueue::copy_unwritten(std::uint64_t offset, std::span<std::byte> out) {
  // A buffer that is not written is not reused, and the part that is asked for was filled before.
  std::lock_guard lock(mutex_);
  std::uint64_t number = offset / OutputBuffers::kBytes;
  if (number < written_) return false;
  std::memcpy(out.data(), buffers_->data(number % OutputBuffers::kCount) + offset % OutputBuffers::kBytes,
              out.size());
  return true;
}

std::vector<std::uint64_t> WriteQueue::unwritten() {
  std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> offsets;
  std::uint64_t end = std::min(submitted_ + 1, written_ + OutputBuffers::kCount);
  for (std::uint64_t number = written_; number < end; ++number)
    offsets.push_back(number * OutputBuffers::kBytes);
  return offsets;
}

void WriteQueue::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return order_ != Order::kWrite || written_ < queued_; });
    if (order_ == Order::kGiveUp || written_ == queued_) return;
    std::uint64_t next = written_;
    lock.unlock();
    int error =
        write_exactly(fd_, std::span(buffers_->data(next % OutputBuffers::kCount), OutputBuffers::kBytes),
                      next * OutputBuffers::kBytes);
    lock.lock();
    if (error == 0) ++written_;
    error_ = error;
    changed_.notify_all();
    if (error != 0) return;
  }
}

}  // namespace ckpt::store
