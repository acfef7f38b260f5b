// What a program says about ranges: discarded, pinned, needed soon, not needed soon, never saved; and
// numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "heap/pager.h"

namespace ckpt::vmheap {

Pager::Lines Pager::lines_touching(ByteRange range) const {
  if (range.size == 0) return {};
  Line first = (range.begin - memory_.base()) / line_bytes_;
  Line last = (range.end() - 1 - memory_.base()) / line_bytes_;
  return {.first = first, .count = last - first + 1};
}

Pager::Lines Pager::lines_within(ByteRange range) const {
  Line first = (range.begin - memory_.base() + line_bytes_ - 1) / line_bytes_;
  Line end = (range.end() - memory_.base()) / line_bytes_;
  return {.first = first, .count = end > first ? end - first : 0};
}

void Pager::discard(ByteRange range) {
  Lock lock(mutex_);
  // Its frozen lines are what a commit under way stores.
  changed_.wait(lock, [&] { return !committing_; });
  discard_lines(lock, lines_within(range));
}

void Pager::discard_lines(Lock& lock, Lines lines) {
  std::vector<Line> frames;
  for (Line line = lines.first; line < lines.first + lines.count; ++line) {
    while (table_.state(line) == LineState::kBusy) {
      wanted_.insert(line);
      changed_.wait(lock);
    }
    if (table_.state(line) == LineState::kWaiting) store_waiting(lock, line);
    if (table_.state(line) == LineState::kDirty) --dirty_count_;
    if (table_.has_frame(line)) frames.push_back(line);
    table_.set_state(line, LineState::kEmpty);
    table_.clear(line, kCold);
  }
  // Their entries in the lists are out of date from here on; those are found out when they are taken.
  for (Lines run : merge(frames)) memory_.free_frames(run.first * line_bytes_, run.count * line_bytes_);
  frames_used_ -= frames.size();
  if (lines.count > 0) discarded_.push_back(lines);
  changed_.notify_all();
}

void Pager::pin(ByteRange range, Access access) {
  Lines lines = lines_touching(range);
  Lock lock(mutex_);
  for (Line line = lines.first; line < lines.first + lines.count; ++line) {
    ++pins_[line];
    table_.set(line, kPinned);
    Outcome outcome = Outcome::kAgain;
    while ((outcome = bring(lock, line, access, false)) == Outcome::kAgain) {
      if (table_.state(line) != LineState::kBusy) continue;
      wanted_.insert(line);
      changed_.wait(lock);
    }
    // A read-ahead mark, or a cold neighbour of the same fill, may have left it unmapped.
    if (outcome == Outcome::kDone && table_.has_frame(line)) continue;
    lock.unlock();
    unpin({.begin = view_of(lines).begin, .size = (line - lines.first + 1) * line_bytes_});
    throw Error(fmt::format("cannot pin {} bytes of the heap: {}", range.size, statistics().failure), ENOMEM);
  }
}

void Pager::unpin(ByteRange range) {
  Lines lines = lines_touching(range);
  std::lock_guard lock(mutex_);
  for (Line line = lines.first; line < lines.first + lines.count; ++line) {
    auto pin = pins_.find(line);
    if (pin == pins_.end() || --pin->second > 0) continue;
    pins_.erase(pin);
    table_.clear(line, kPinned);
  }
}

void Pager::will_need(ByteRange range) {
  Lines lines = lines_touching(range);
  std::lock_guard lock(mutex_);
  std::uint64_t step = sequential_.most();
  for (std::uint64_t done = 0; done < lines.count; done += step) {
    to_read_ahead_.push_back(
        {.lines = {.first = lines.first + done, .count = std::min(step, lines.count - done)},
         .access = Access::kRead,
         .now = false});
  }
  ahead_.notify_one();
}

void Pager::prepare(ByteRange range) {
  Lines lines = lines_within(range);
  Lock lock(mutex_);
  constexpr std::uint64_t kPlenty = 8;  // times as many frames
  if (lines.count == 0 || noting_ || free_frames() < frames_to_keep_free() + kPlenty * lines.count) return;
  LineState state = table_.state(lines.first);
  bool fresh = (state == LineState::kPersistent || state == LineState::kEmpty) &&
               !table_.has(lines.first, kStored) &&
               choose_fill(lines.first, lines.count).count == lines.count;
  if (!fresh) return;
  frames_used_ += lines.count;
  load(lock, {.lines = lines, .access = Access::kWrite, .goes_on = false});
}

void Pager::cold(ByteRange range) {
  Lines lines = lines_within(range);
  std::lock_guard lock(mutex_);
  std::vector<Line> chosen;
  for (Line line = lines.first; line < lines.first + lines.count; ++line) {
    bool may_be = table_.has_frame(line) && table_.state(line) != LineState::kBusy &&
                  !table_.has(line, kPinned) && !table_.has(line, kSpecial);
    if (!may_be) continue;
    table_.set(line, kCold);
    chosen.push_back(line);
  }
  for (Lines run : merge(chosen)) memory_.unmap_view(run.first * line_bytes_, run.count * line_bytes_);
}

void Pager::set_kind(ByteRange range, RangeKind kind) {
  Lines lines = lines_within(range);
  Lock lock(mutex_);
  remove_special(lines);
  if (kind != RangeKind::kNormal) {
    discard_lines(lock, lines);
    special_.push_back(lines);
  }
  for (Line line = lines.first; line < lines.first + lines.count; ++line) {
    kind == RangeKind::kNormal ? table_.clear(line, kSpecial) : table_.set(line, kSpecial);
  }
}

void Pager::remove_special(Lines lines) {
  std::vector<Lines> left;
  Line end = lines.first + lines.count;
  for (Lines old : special_) {
    Line old_end = old.first + old.count;
    if (old.first < lines.first)
      left.push_back({.first = old.first, .count = std::min(old_end, lines.first) - old.first});
    if (old_end > end) {
      Line first = std::max(old.first, end);
      left.push_back({.first = first, .count = old_end - first});
    }
  }
  special_ = std::move(left);
}

void Pager::set_resident_limit(std::uint64_t bytes) {
  std::uint64_t limit = bytes / line_bytes_;
  Lock lock(mutex_);
  std::uint64_t before = std::exchange(limit_, std::max<std::uint64_t>(limit, 16));
  while (frames_used_ > limit_) {
    if (reclaim(lock, frames_used_ - limit_)) continue;
    if (committing_ || busy_count_ > 0) {
      changed_.wait(lock);
      continue;
    }
    limit_ = before;
    throw Error(fmt::format("the heap cannot shrink to {} bytes in memory: {}", bytes,
                            failure_.empty() ? "more is pinned; unpin it first" : failure_),
                EBUSY);
  }
}

Statistics Pager::statistics() const {
  std::lock_guard lock(mutex_);
  Statistics result = counts_;
  result.size_bytes = memory_.size();
  result.resident_bytes = frames_used_ * line_bytes_;
  result.resident_limit_bytes = limit_ * line_bytes_;
  result.dirty_bytes = dirty_count_ * line_bytes_;
  result.uncommitted_bytes = (dirty_count_ + stored_.size() + stored_for_checkpoints_) * line_bytes_;
  result.version = store_.program_version();
  result.failure = failure_;
  return result;
}

}  // namespace ckpt::vmheap
