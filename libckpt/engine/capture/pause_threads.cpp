#include "engine/capture/pause_threads.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace ckpt::engine {

std::size_t PauseThreads::count() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kMost);
}

PauseThreads::~PauseThreads() {
  std::scoped_lock lock(mutex_);
  over_ = true;
  wanted_.notify_all();
}

void PauseThreads::run(std::size_t parts, const std::function<void(std::size_t)>& work) {
  if (parts > 1) start();
  std::unique_lock lock(mutex_);
  work_ = &work;
  next_ = 0;
  parts_ = parts;
  if (parts > 1) wanted_.notify_all();
  take_parts(lock);
  finished_.wait(lock, [this] { return running_ == 0; });
  work_ = nullptr;
  if (std::exception_ptr failure = std::exchange(failure_, nullptr)) std::rethrow_exception(failure);
}

// Fewer threads than wanted only make it slower.
void PauseThreads::start() {
  try {
    while (threads_.size() + 1 < count()) threads_.emplace_back([this] { serve(); });
  } catch (const std::system_error&) {
    return;
  }
}

void PauseThreads::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [this] { return over_ || next_ < parts_; });
    if (over_) return;
    take_parts(lock);
  }
}

void PauseThreads::take_parts(std::unique_lock<std::mutex>& lock) {
  while (next_ < parts_) {
    std::size_t part = next_++;
    ++running_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      (*work_)(part);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    --running_;
    if (failure) {
      failure_ = failure;
      next_ = parts_;
    }
  }
  if (running_ == 0) finished_.notify_all();
}

}  // namespace ckpt::engine
