#include "store/put_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {

bool SegmentPutPages::copy_from_buffers(std::uint64_t offset, std::span<std::byte> out) const {
  std::lock_guard lock(mutex_);
  if (queue_ != nullptr) return queue_->copy_unwritten(offset, out);
  auto buffer = unwritten_.find(offset / OutputBuffers::kBytes * OutputBuffers::kBytes);
  if (buffer == unwritten_.end()) return false;
  std::ranges::copy(std::span(buffer->second).subspan(offset - buffer->first, out.size()), out.begin());
  return true;
}

void SegmentPutPages::read(std::uint64_t unit, std::span<std::byte> out) const {
  for (std::uint64_t offset = unit * kPageBytes; !out.empty();) {
    // Of one buffer of the output, so that it is either not written yet or on disk.
    std::span<std::byte> part = out.first(
        std::min<std::uint64_t>(out.size(), OutputBuffers::kBytes - offset % OutputBuffers::kBytes));
    if (!copy_from_buffers(offset, part)) read_exactly(fd_.get(), part, offset, path_);
    out = out.subspan(part.size());
    offset += part.size();
  }
}

void SegmentPutPages::detach() {
  std::lock_guard lock(mutex_);
  if (queue_ == nullptr) return;
  for (std::uint64_t offset : queue_->unwritten()) {
    std::vector<std::byte> bytes(OutputBuffers::kBytes);
    if (queue_->copy_unwritten(offset, bytes)) unwritten_.emplace(offset, std::move(bytes));
  }
  queue_ = nullptr;
}

}  // namespace ckpt::store
