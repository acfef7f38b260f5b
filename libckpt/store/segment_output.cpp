#include "store/segment_output.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "store/checkpoint_store.h"
#include "store/segment_format.h"
#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

int create_exclusive(int directory, const std::string& name) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL;
  int fd = open_in(directory, name, kFlags | O_DIRECT, 0600);
  if (fd >= 0 || errno != EINVAL) return fd;
  // open(2): file systems without direct I/O answer EINVAL, some of them after having created the file.
  system_calls().unlinkat(directory, name.c_str(), 0);
  return open_in(directory, name, kFlags, 0600);
}

}  // namespace

SegmentOutput::SegmentOutput(int directory, const std::string& directory_path, std::string temporary,
                             std::shared_ptr<OutputBuffers> buffers, BackgroundPriority& priority)
    : directory_(directory),
      directory_path_(directory_path),
      temporary_(std::move(temporary)),
      path_(fmt::format("{}/{}", directory_path, temporary_)),
      fd_(create_exclusive(directory, temporary_)) {
  if (!fd_) throw write_error(fmt::format("create {}", path_), errno);
  queue_.emplace(fd_.get(), std::move(buffers), priority);
}

SegmentOutput::~SegmentOutput() {
  end_queue();
  remove_temporary();
}

void SegmentOutput::append(std::span<const std::byte> bytes) {
  if (!queue_) throw Error(fmt::format("{} could not be written before; start a new version", path_));
  while (!bytes.empty()) {
    std::size_t part = std::min(bytes.size(), OutputBuffers::kBytes - buffered_);
    std::memcpy(queue_->buffer() + buffered_, bytes.data(), part);
    buffered_ += part;
    bytes = bytes.subspan(part);
    if (buffered_ == OutputBuffers::kBytes) submit();
  }
}

void SegmentOutput::pad_to(std::uint64_t alignment) {
  static constexpr std::array<std::byte, kPageBytes> kZeroes{};
  append(std::span(kZeroes).first(align_up(position(), alignment) - position()));
}

std::shared_ptr<const PutPages> SegmentOutput::put_pages() {
  if (put_pages_) return put_pages_;
  if (!queue_) throw Error(fmt::format("{} could not be written before; start a new version", path_));
  UniqueFd fd(open_in(directory_, temporary_, O_RDONLY | O_DIRECT, 0));
  if (!fd && errno == EINVAL) fd = UniqueFd(open_in(directory_, temporary_, O_RDONLY, 0));
  if (!fd) throw_errno(fmt::format("open {}", path_));
  put_pages_ = std::make_shared<SegmentPutPages>(std::move(fd), path_, *queue_);
  return put_pages_;
}

void SegmentOutput::end_queue() {
  if (put_pages_ && queue_) {
    // No buffer is filled or written any more while it is looked at.
    queue_->stop_writing();
    put_pages_->detach();
  }
  queue_.reset();
}

void SegmentOutput::submit() {
  check(queue_->submit());
  submitted_ += buffered_;
  buffered_ = 0;
}

void SegmentOutput::check(int write_result) {
  if (write_result != 0) fail(fmt::format("write {}", path_), write_result);
}

void SegmentOutput::sync_and_close() {
  if (system_calls().fdatasync(fd_.get()) != 0) fail(fmt::format("fdatasync {}", path_), errno);
  // Some file systems report a failed write only here (close(2)); the descriptor is gone either way.
  if (system_calls().close(fd_.release()) != 0) fail(fmt::format("close {}", path_), errno);
}

void SegmentOutput::publish(const std::string& name) {
  check(queue_->finish(buffered_));
  end_queue();
  sync_and_close();
  if (system_calls().renameat(directory_, temporary_.c_str(), directory_, name.c_str()) != 0) {
    fail(fmt::format("rename {} to {}", path_, name), errno);
  }
  temporary_ = name;  // until the directory is durable, failure removes it under this name
  if (system_calls().fsync(directory_) != 0) fail(fmt::format("fsync directory {}", directory_path_), errno);
  temporary_.clear();
}

void SegmentOutput::fail(const std::string& attempt, int code) {
  end_queue();
  fd_.reset();
  remove_temporary();
  throw write_error(attempt, code);
}

void SegmentOutput::remove_temporary() noexcept {
  // Nothing can be done about a failure: the next writer removes stale files.
  if (!temporary_.empty()) system_calls().unlinkat(directory_, temporary_.c_str(), 0);
  temporary_.clear();
}

}  // namespace ckpt::store
