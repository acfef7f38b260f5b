// Parts of a heap get lines of another size, or are added to it.
//
// Meanwhile everything stands still: whoever needs a line waits (reshaping_), nothing is committed, discarded
// or rolled back (committing_). What has a frame in the changed part is stored if it is dirty, and evicted;
// what is empty is dropped from the version under way. All that is left to know of its lines is then which of
// them are stored in that version (kStored), and that goes over to the new ones.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "heap/pager.h"

namespace ckpt::vmheap {

void Pager::grow(const Regions& regions) {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return !reshaping_; });
  LineMap map(regions);
  limit_in_pages(limit_ * store::kPageBytes, map);
  std::uint64_t before = memory_.size();
  std::uint64_t size = map.end() * store::kPageBytes;
  memory_.grow(size);
  line_map_ = std::move(map);
  userfault_.watch(memory_.view(before, size - before));
}

void Pager::set_regions(const Regions& regions, ByteRange range) {
  if (read_only_) throw Error("the heap is open read-only; open it for writing to change its lines", EROFS);
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return !committing_; });
  LineMap map(regions);
  limit_in_pages(limit_ * store::kPageBytes, map);
  require_same_where_held(map);
  Lines changed{.first = page_of(range.begin), .pages = range.size / store::kPageBytes};
  committing_ = reshaping_ = true;
  try {
    clear_out(lock, changed);
    take_over(std::move(map), changed);
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    go_on_after_change();
    throw;
  }
  go_on_after_change();
}

// Whoever waited for a line looks what it is in now.
void Pager::go_on_after_change() {
  committing_ = reshaping_ = false;
  cleaning_pays_ = true;
  wanted_.clear();
  userfault_.wake(memory_.view(0, memory_.size()));
  changed_.notify_all();
  work_.notify_all();
  ahead_.notify_all();
}

// Lines that are pinned, or that are never saved, cannot be evicted.
void Pager::require_same_where_held(const LineMap& map) const {
  auto require_same = [&](Line line) {
    if (map.line_of(line) == line && map.length(line) == line_map_.length(line)) return;
    throw Error(
        "lines that are pinned, or in a system or nursery range, keep their size; unpin them first, or "
        "set their range to normal",
        EBUSY);
  };
  for (const auto& [line, pin] : pins_) require_same(line);
  for (Lines lines : special_) for_each_line(lines, require_same);
}

// Afterwards none of the lines has a frame, is empty, or is in the lists.
void Pager::clear_out(Lock& lock, Lines changed) {
  if (store_failed_) restart_store(lock);
  store_failed_ = false;
  for (;;) {
    changed_.wait(lock, [&] { return busy_count_ == 0; });
    std::vector<Line> clean;
    std::vector<Line> dirty;
    resident_.for_each([&](Line line) {
      if (!changed.contains(line) || !table_.has_frame(line)) return;
      (table_.state(line) == LineState::kDirty ? dirty : clean).push_back(line);
    });
    if (clean.empty() && dirty.empty()) break;
    std::ranges::sort(dirty);
    for (Lines run : merge(dirty)) make_cold(run);
    if (!dirty.empty() && !flush(lock, dirty)) throw Error(failure_, EIO);
    if (dirty.empty()) evict(lock, std::move(clean));
  }
  resident_.remove([changed](Line line) { return changed.contains(line); });
  drop_empty(lock, changed);
}

void Pager::drop_empty(Lock& lock, Lines changed) {
  std::vector<Line> empty;
  for (Lines lines : discarded_) {
    for_each_line(lines, [&](Line line) {
      if (changed.contains(line) && table_.state(line) == LineState::kEmpty) empty.push_back(line);
    });
  }
  std::ranges::sort(empty);
  empty.erase(std::unique(empty.begin(), empty.end()), empty.end());
  std::vector<Lines> runs = merge(empty);
  lock.unlock();
  for (Lines run : runs) store_.drop(pages_of(run));
  lock.lock();
  for (Line line : empty) {
    table_.set_state(line, LineState::kPersistent);
    note_stored(line);
  }
  discarded_ = without(discarded_, changed);
}

void Pager::take_over(LineMap map, Lines changed) {
  std::vector<Lines> stored;
  std::erase_if(stored_, [&](Line line) {
    if (!changed.contains(line)) return false;
    table_.clear(line, kStored);
    stored.push_back(one(line));
    return true;
  });
  stored_pages_ = pages_in(stored_);
  std::vector<Lines> unavailable;
  for (Line line : std::exchange(unavailable_, {})) unavailable.push_back(one(line));
  line_map_ = std::move(map);
  auto for_each_now = [this](const std::vector<Lines>& runs, const auto& visit) {
    for (Lines run : runs) {
      for (Line line = line_map_.line_of(run.first); line < run.end(); line = line_map_.next(line))
        visit(line);
    }
  };
  for_each_now(stored, [this](Line line) { note_stored(line); });
  for_each_now(unavailable, [this](Line line) { unavailable_.insert(line); });
  marks_.clear();
  to_read_ahead_.clear();
}

}  // namespace ckpt::vmheap
