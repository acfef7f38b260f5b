#include "engine/restore/background_reads.h"

#include <linux/ioprio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr unsigned kMostThreads = 4;
constexpr int kLowPriority = 15;  // nice value

unsigned thread_count() { return std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads); }

// Of this thread alone. Refusal costs only politeness.
void give_way() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kLowPriority);
  ::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7));
}

}  // namespace

BackgroundReads::BackgroundReads(const store::CheckpointReader& reader)
    : reader_(reader), done_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!done_fd_) throw_errno("create an eventfd");
  for (unsigned i = 0; i < thread_count(); ++i) threads_.emplace_back([this] { work(true); });
}

BackgroundReads::~BackgroundReads() {
  std::scoped_lock lock(mutex_);
  over_ = true;
  queue_.clear();
  wanted_.notify_all();
}

void BackgroundReads::request(BackgroundRead read) {
  ++outstanding_;
  std::scoped_lock lock(mutex_);
  if (!buffers_.empty()) {
    read.bytes = std::move(buffers_.back());
    buffers_.pop_back();
  }
  queue_.push_back(std::move(read));
  wanted_.notify_one();
}

std::optional<BackgroundRead> BackgroundReads::take() {
  std::scoped_lock lock(mutex_);
  std::uint64_t count = 0;
  if (done_.empty()) {
    [[maybe_unused]] ssize_t got = ::read(done_fd_.get(), &count, sizeof count);
    return std::nullopt;
  }
  --outstanding_;
  BackgroundRead read = std::move(done_.front());
  done_.pop_front();
  return read;
}

void BackgroundReads::recycle(PageRoom buffer) {
  std::scoped_lock lock(mutex_);
  buffers_.push_back(std::move(buffer));
}

void BackgroundReads::hurry() {
  {
    std::scoped_lock lock(mutex_);
    hurried_ = true;
    wanted_.notify_all();
  }
  for (unsigned i = 0; i < thread_count(); ++i) threads_.emplace_back([this] { work(false); });
}

void BackgroundReads::fill(BackgroundRead& read) const {
  try {
    std::span<std::byte> rest = read.bytes.pages(read.page_count);
    for (const store::PageRun& run : read.runs) {
      std::size_t size_bytes = run.page_count * store::kPageBytes;
      reader_.read(read.space, run, rest.first(size_bytes));
      rest = rest.subspan(size_bytes);
    }
  } catch (...) {
    read.failure = std::current_exception();
  }
}

void BackgroundReads::work(bool gives_way) {
  std::unique_lock lock(mutex_);
  bool leaves = gives_way;  // to those that do not, once they are there
  for (;;) {
    wanted_.wait(lock, [&] { return over_ || (leaves && hurried_) || !queue_.empty(); });
    if (over_ || (leaves && hurried_)) return;
    BackgroundRead read = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (gives_way && !read.urgent) {
      give_way();
      gives_way = false;
    }
    fill(read);
    lock.lock();
    done_.push_back(std::move(read));
    std::uint64_t one = 1;
    [[maybe_unused]] ssize_t put = ::write(done_fd_.get(), &one, sizeof one);
  }
}

}  // namespace ckpt::engine
