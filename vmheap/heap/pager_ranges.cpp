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
  Line first = line_map_.line_of(page_of(range.begin));
  Line last = line_map_.line_of(page_of(range.end() - 1));
  return {.first = first, .pages = line_map_.next(last) - first};
}

Pager::Lines Pager::lines_within(ByteRange range) const {
  if (range.size == 0) return {};
  Lines lines = lines_touching(range);
  Line end = lines.end();
  if (view_of(lines).begin < range.begin) lines.first = line_map_.next(lines.first);
  if (view_of(lines).end() > range.end()) end = line_map_.line_of(page_of(range.end() - 1));
  return {.first = lines.first, .pages = end > lines.first ? end - lines.first : 0};
}

// What is in `runs`, but for what is in `gone`.
std::vector<Pager::Lines> Pager::without(const std::vector<Lines>& runs, Lines gone) {
  std::vector<Lines> left;
  auto add = [&left](Line first, Line end) {
    if (first < end) left.push_back({.first = first, .pages = end - first});
  };
  for (Lines run : runs) {
    add(run.first, std::min(run.end(), gone.first));
    add(std::max(run.first, gone.end()), run.end());
  }
  return left;
}

bool Pager::is_in(const std::vector<Lines>& ranges, Line line) {
  return std::ranges::any_of(ranges, [line](Lines range) { return range.contains(line); });
}

void Pager::discard(ByteRange range) {
  Lock lock(mutex_);
  // Its frozen lines are what a commit under way stores.
  changed_.wait(lock, [&] { return !committing_; });
  discard_lines(lock, lines_within(range));
}

void Pager::discard_lines(Lock& lock, Lines lines) {
  std::vector<Line> frames;  // of lines that are empty already: given back before the lock is
  auto free_frames = [&] {
    for (Lines run : merge(frames)) free_memory(run);
    frames_used_ -= pages_in(frames);
    frames.clear();
  };
  for (Line next = lines.first; next < lines.end();) {
    Line line = line_map_.line_of(next);
    if (is_busy(line)) {
      free_frames();
      wanted_.insert(line);
      changed_.wait(lock);
      continue;
    }
    next = line_map_.next(line);
    if (line < lines.first || next > lines.end()) continue;  // longer since the lock was given up
    if (table_.state(line) == LineState::kWaiting) {
      free_frames();
      store_waiting(lock, line);
    }
    if (table_.state(line) == LineState::kDirty) dirty_pages_ -= line_map_.length(line);
    // Its entry in the lists is out of date from here on; that is found out when it is taken.
    if (table_.has_frame(line)) frames.push_back(line);
    table_.set_state(line, LineState::kEmpty);
    table_.clear(line, kCold);
    if (!discarded_.empty() && discarded_.back().end() == line) {
      discarded_.back().pages += line_map_.length(line);
    } else {
      discarded_.push_back(one(line));
    }
  }
  free_frames();
  changed_.notify_all();
  publish();
}

void Pager::pin(ByteRange range, Access access) {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return !reshaping_; });
  Lines lines = lines_touching(range);
  // All at once: lines that are pinned keep their size.
  for_each_line(lines, [&](Line line) {
    Pinned& pin = pins_[line];
    ++pin.count;
    if (access == Access::kWrite) pin.access = access;
    table_.set(line, kPinned);
  });
  for (Line line = lines.first; line < lines.end(); line = line_map_.next(line)) {
    if (bring_to_stay(lock, line, access)) continue;
    lock.unlock();
    unpin(range);
    throw Error(fmt::format("cannot pin {} bytes of the heap: {}", range.size, statistics().failure), ENOMEM);
  }
}

// The line is pinned. False: it cannot be had.
bool Pager::bring_to_stay(Lock& lock, Line line, Access access) {
  for (;;) {
    Outcome outcome = bring(lock, line, access, false);
    // A read-ahead mark, or a cold neighbour of the same fill, may have left it unmapped.
    if (outcome != Outcome::kAgain) return outcome == Outcome::kDone && table_.has_frame(line);
    if (!is_busy(line)) continue;
    wanted_.insert(line);
    changed_.wait(lock);
  }
}

void Pager::unpin(ByteRange range) {
  std::lock_guard lock(mutex_);
  for_each_line(lines_touching(range), [this](Line line) {
    auto pin = pins_.find(line);
    if (pin == pins_.end() || --pin->second.count > 0) return;
    pins_.erase(pin);
    table_.clear(line, kPinned);
  });
}

void Pager::will_need(ByteRange range) {
  std::lock_guard lock(mutex_);
  Lines left = lines_touching(range);
  while (left.pages > 0) {
    Line end = std::min(
        left.end(), std::max(line_map_.next(left.first), line_map_.line_of(left.first + sequential_.most())));
    Lines part{.first = left.first, .pages = end - left.first};
    to_read_ahead_.push_back({.lines = part, .access = Access::kRead, .now = false});
    left = {.first = end, .pages = left.pages - part.pages};
  }
  ahead_.notify_one();
}

void Pager::prepare(ByteRange range) {
  Lock lock(mutex_);
  Lines lines = lines_within(range);
  constexpr std::uint64_t kPlenty = 8;  // times as many frames
  if (lines.pages == 0 || noting_ || reshaping_) return;
  if (free_frames() < frames_to_keep_free() + kPlenty * lines.pages) return;
  LineState state = table_.state(lines.first);
  bool fresh = (state == LineState::kPersistent || state == LineState::kEmpty) &&
               !table_.has(lines.first, kStored) &&
               choose_fill(lines.first, lines.pages).pages == lines.pages;
  if (!fresh) return;
  frames_used_ += lines.pages;
  load(lock, {.lines = lines, .access = Access::kWrite, .goes_on = false});
}

void Pager::cold(ByteRange range) {
  std::lock_guard lock(mutex_);
  Lines lines = lines_within(range);
  make_cold(lines);
  resident_.put_first([&](Line line) { return lines.contains(line) && table_.has(line, kCold); });
}

// Unmaps those that may be evicted.
void Pager::make_cold(Lines lines) {
  std::vector<Line> chosen;
  for_each_line(lines, [&](Line line) {
    bool may_be = table_.has_frame(line) && table_.state(line) != LineState::kBusy &&
                  !table_.has(line, kPinned) && !table_.has(line, kSpecial);
    if (!may_be) return;
    table_.set(line, kCold);
    chosen.push_back(line);
  });
  for (Lines run : merge(chosen)) unmap(run);
}

void Pager::set_pattern(ByteRange range, AccessPattern pattern) {
  std::lock_guard lock(mutex_);
  Lines lines = lines_touching(range);
  if (lines.pages == 0) return;
  in_order_ = without(in_order_, lines);
  at_random_ = without(at_random_, lines);
  if (pattern == AccessPattern::kSequential) in_order_.push_back(lines);
  if (pattern == AccessPattern::kRandom) at_random_.push_back(lines);
}

// Whoever goes through a range in order has come to `line`, and is done with what was brought in before.
void Pager::leave_behind(Line line) {
  std::uint64_t pages = std::min(line, std::max(2 * sequential_.most(), line_map_.length(line)));
  Line first = line_map_.line_of(line - pages);
  while (first < line && !is_in(in_order_, first)) first = line_map_.next(first);
  make_cold({.first = first, .pages = line - first});
}

void Pager::set_kind(ByteRange range, RangeKind kind) {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return !reshaping_; });
  Lines lines = lines_within(range);
  special_ = without(special_, lines);
  if (kind != RangeKind::kNormal) {
    // Marked first: special lines keep their size.
    special_.push_back(lines);
    discard_lines(lock, lines);
  }
  for_each_line(lines, [&](Line line) {
    kind == RangeKind::kNormal ? table_.clear(line, kSpecial) : table_.set(line, kSpecial);
  });
}

void Pager::set_resident_limit(std::uint64_t bytes) {
  Lock lock(mutex_);
  std::uint64_t before = std::exchange(limit_, limit_in_pages(bytes, line_map_));
  while (frames_used_ > limit_) {
    if (reclaim(lock, frames_used_ - limit_) || make_unread_cold(frames_used_ - limit_)) continue;
    if (committing_ || busy_count_ > 0) {
      changed_.wait(lock);
      continue;
    }
    limit_ = before;
    throw Error(fmt::format("the heap cannot shrink to {} bytes in memory: {}", bytes,
                            failure_.empty() ? "more is pinned; unpin it first" : failure_),
                EBUSY);
  }
  try_unavailable(lock);
  publish();
}

Statistics Pager::statistics() const {
  std::lock_guard lock(mutex_);
  Statistics result = numbers_now();
  result.failure = failure_;
  return result;
}

// For other processes.
void Pager::publish() {
  if (lock_identity_) live_.publish(*lock_identity_, numbers_now(), failure_);
}

Statistics Pager::numbers_now() const {
  Statistics result = counts_;
  result.size_bytes = memory_.size();
  result.resident_bytes = frames_used_ * store::kPageBytes;
  result.resident_limit_bytes = limit_ * store::kPageBytes;
  result.dirty_bytes = dirty_pages_ * store::kPageBytes;
  result.uncommitted_bytes = (dirty_pages_ + stored_pages_ + stored_for_checkpoints_) * store::kPageBytes;
  result.version = store_.program_version();
  return result;
}

}  // namespace ckpt::vmheap
