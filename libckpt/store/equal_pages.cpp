#include "store/equal_pages.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "store/checkpoint_store.h"

namespace ckpt::store {
namespace {

constexpr std::size_t kMostPages = ReadBuffers::kBytes / kPageBytes;
constexpr std::size_t kLongRun = 8;                  // pages whose reading takes no longer than to write them
constexpr std::uint64_t kFreeShortReads = 64;        // and then one
constexpr std::uint64_t kWrittenPerShortRead = 256;  // for so many pages written
constexpr std::chrono::seconds kFreeTime{5};
constexpr std::chrono::microseconds kTimePerPage{10};  // that was found

}  // namespace

bool EqualPages::is_usable(const Reference& first, std::size_t count, std::uint64_t own_pages) const {
  std::uint64_t end = std::uint64_t{first.unit} + count;
  if (first.segment == places_.own) return places_.read_own != nullptr && end <= own_pages;
  if (places_.segments == nullptr || !std::ranges::binary_search(places_.usable, first.segment)) return false;
  const Segment* segment = places_.segments->find(first.segment);
  return segment != nullptr && end <= segment->page_count();
}

std::size_t EqualPages::count_candidates(std::span<const Digest> digests, std::uint64_t own_pages,
                                         Reference& first) const {
  first = known_.find(digests.front());
  if (!first.present()) return 0;
  std::size_t count = 1;
  while (count < std::min(digests.size(), kMostPages)) {
    Reference next = known_.find(digests[count]);
    if (next.segment != first.segment || next.unit != std::uint64_t{first.unit} + count) break;
    ++count;
  }
  return is_usable(first, count, own_pages) ? count : 0;
}

bool EqualPages::may_read(std::size_t count) {
  if (spent_ > kFreeTime + found_ * kTimePerPage) return false;
  if (count >= kLongRun) return true;
  if (short_reads_ >= kFreeShortReads + written_ / kWrittenPerShortRead) return false;
  ++short_reads_;
  return true;
}

// What cannot be read is written.
bool EqualPages::read(const Reference& first, std::span<std::byte> out) const try {
  if (first.segment == places_.own) {
    places_.read_own(first.unit, out);
  } else {
    places_.segments->read_pages(*places_.segments->find(first.segment), first.unit, out);
  }
  return true;
} catch (const Error&) {
  return false;
}

bool EqualPages::read_counted(const Reference& first, std::span<std::byte> out) {
  auto begin = std::chrono::steady_clock::now();
  bool done = read(first, out);
  spent_ += std::chrono::steady_clock::now() - begin;
  return done;
}

std::size_t EqualPages::find(std::span<const std::byte> pages, std::span<const Digest> digests,
                             std::uint64_t own_pages, Reference& first) {
  std::size_t count = count_candidates(digests, own_pages, first);
  if (count == 0) return 0;
  bool is_read = count == 1 && read_last_ == first;  // a page that is everywhere
  if (!is_read) {
    if (!may_read(count)) return 0;
    read_last_ = {};
    if (!buffer_) buffer_.emplace(buffers_);
    if (!read_counted(first, buffer_->bytes().first(count * kPageBytes))) return 0;
    read_last_ = first;
  }
  std::size_t equal = 0;
  while (equal < count && std::memcmp(pages.data() + equal * kPageBytes,
                                      buffer_->bytes().data() + equal * kPageBytes, kPageBytes) == 0) {
    ++equal;
  }
  found_ += equal;
  return equal;
}

void EqualPages::add(const Reference& page) {
  ++written_;
  known_.add(page);
}

}  // namespace ckpt::store
