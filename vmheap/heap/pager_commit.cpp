// A commit: freeze() protects all dirty lines at one instant, finish_commit() stores them while writers may
// go on, and makes them visible together with what was stored early. Rollback.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "heap/pager.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kPutPages = (1ULL << 20) / store::kPageBytes;
// Pages between two lines that are protected together with them, if none of them must stay writable.
constexpr std::uint64_t kBridge = 64;

}  // namespace

void Pager::freeze() {
  if (read_only_) throw Error("the heap is open read-only; open it for writing to commit", EROFS);
  Lock lock(mutex_);
  freeze(lock);
}

void Pager::freeze(Lock& lock) {
  changed_.wait(lock, [&] { return !committing_; });
  committing_ = true;
  // Early stores that are under way are part of this commit; no others begin.
  changed_.wait(lock, [&] { return flushing_count_ == 0; });
  freeze_dirty();
  freeze_discarded();
}

void Pager::freeze_discarded() {
  std::vector<Line> empty;
  for (Lines lines : std::exchange(discarded_, {})) {
    for_each_line(lines, [&](Line line) {
      // Others were written to since, and are stored as they are now.
      if (table_.state(line) == LineState::kEmpty || table_.has(line, kSpecial)) empty.push_back(line);
    });
  }
  std::ranges::sort(empty);
  empty.erase(std::unique(empty.begin(), empty.end()), empty.end());
  dropped_ = merge(empty);
}

void Pager::freeze_dirty() {
  waiting_.clear();
  resident_.for_each([&](Line line) {
    if (table_.state(line) != LineState::kDirty || table_.has(line, kSpecial)) return;
    if (table_.has(line, kPinned)) {
      // The kernel may be writing to it for somebody: it stays writable.
      std::span<std::byte> bytes = alias_of(one(line));
      pinned_copies_.push_back({.line = line, .bytes = {bytes.begin(), bytes.end()}});
      return;
    }
    table_.set_state(line, LineState::kWaiting);
    waiting_.push_back(line);
  });
  dirty_pages_ -= pages_in(waiting_);
  std::ranges::sort(waiting_);
  for (std::size_t begin = 0, end = 0; begin < waiting_.size(); begin = end) {
    auto joins = [&](Line last, Line next) {
      last = line_map_.next(last);
      if (next - last >= kBridge) return false;
      for (; last < next; last = line_map_.next(last)) {
        if (table_.state(last) == LineState::kDirty || table_.has(last, kPinned) ||
            table_.has(last, kSpecial))
          return false;
      }
      return true;
    };
    for (end = begin + 1; end < waiting_.size() && joins(waiting_[end - 1], waiting_[end]);) ++end;
    userfault_.protect(
        view_of({.first = waiting_[begin], .pages = line_map_.next(waiting_[end - 1]) - waiting_[begin]}));
  }
}

store::Version Pager::finish_commit(CommitFor whom, const std::string& application) {
  Lock lock(mutex_);
  try {
    restart_store(lock);
    drop_discarded(lock);
    store_frozen(lock);
    lock.unlock();
    store::Version version = store_.commit(whom, application);
    lock.lock();
    committed(whom);
    try_unavailable(lock);
    publish();
    return version;
  } catch (const Error& error) {
    if (!lock.owns_lock()) lock.lock();
    commit_failed(error.what());
    publish();
    throw;
  }
}

// After a failure, what was stored early is put once more.
void Pager::restart_store(Lock& lock) {
  if (!store_.failed()) return;
  std::vector<Line> lines;
  for (Line line : stored_) {
    if (table_.has(line, kStored) && table_.state(line) != LineState::kEmpty) lines.push_back(line);
  }
  std::ranges::sort(lines);
  std::vector<store::PageRun> runs;
  for (Lines run : merge(lines)) runs.push_back(pages_of(run));
  lock.unlock();
  store_.restart(runs);
  lock.lock();
}

void Pager::drop_discarded(Lock& lock) {
  lock.unlock();
  for (Lines lines : dropped_) store_.drop(pages_of(lines));
  lock.lock();
}

void Pager::store_frozen(Lock& lock) {
  std::vector<PinnedCopy> copies = std::exchange(pinned_copies_, {});
  lock.unlock();
  for (const PinnedCopy& copy : copies) store_.put(copy.line, copy.bytes);
  lock.lock();
  for (std::size_t next = 0; next < waiting_.size();) {
    std::vector<Line> batch;
    std::uint64_t pages = 0;
    for (; next < waiting_.size() && pages < kPutPages; ++next) {
      // Others were written to meanwhile, and stored then.
      if (table_.state(waiting_[next]) != LineState::kWaiting) continue;
      batch.push_back(waiting_[next]);
      pages += line_map_.length(waiting_[next]);
    }
    for (Line line : batch) begin_busy(line);
    bool stored = put_lines(lock, batch);
    for (Line line : batch) {
      if (stored) note_stored(line);
      end_busy(line, stored ? LineState::kResident : LineState::kWaiting);
    }
    if (!stored) throw Error(failure_, EIO);
  }
  // Those that somebody else is just storing belong to this version, too.
  changed_.wait(lock, [&] { return storing_waiting_ == 0; });
}

void Pager::note_stored(Line line) {
  if (table_.has(line, kStored)) return;
  table_.set(line, kStored);
  stored_.push_back(line);
  stored_pages_ += line_map_.length(line);
}

void Pager::committed(CommitFor whom) {
  stored_for_checkpoints_ = whom == CommitFor::kCheckpoint ? stored_for_checkpoints_ + stored_pages_ : 0;
  for (Line line : stored_) table_.clear(line, kStored);
  stored_.clear();
  stored_pages_ = 0;
  for (Lines lines : dropped_) {
    for_each_line(lines, [this](Line line) {
      if (table_.state(line) == LineState::kEmpty) table_.set_state(line, LineState::kPersistent);
    });
  }
  dropped_.clear();
  waiting_.clear();
  if (whom == CommitFor::kProgram) ++counts_.commits;
  failure_.clear();
  store_failed_ = false;
  committing_ = false;
  cleaning_pays_ = true;
  changed_.notify_all();
  work_.notify_one();
}

void Pager::commit_failed(const std::string& cause) {
  for (Line line : waiting_) {
    if (table_.state(line) != LineState::kWaiting) continue;
    table_.set_state(line, LineState::kDirty);
    dirty_pages_ += line_map_.length(line);
  }
  waiting_.clear();
  discarded_.insert(discarded_.end(), dropped_.begin(), dropped_.end());
  dropped_.clear();
  pinned_copies_.clear();
  record_failure(cause);
  store_failed_ = true;
  committing_ = false;
  changed_.notify_all();
}

void Pager::roll_back(store::Version version, const Regions& regions) {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return !committing_; });
  LineMap map(regions);
  limit_in_pages(limit_ * store::kPageBytes, map);
  require_same_where_held(map);
  committing_ = true;
  to_read_ahead_.clear();
  changed_.wait(lock, [&] { return busy_count_ == 0; });
  try {
    store_.go_to(version);
    reset(map);
  } catch (...) {
    committing_ = false;
    changed_.notify_all();
    throw;
  }
  ++counts_.rollbacks;
  stored_for_checkpoints_ = 0;
  failure_.clear();
  store_failed_ = false;
  committing_ = false;
  cleaning_pays_ = true;
  changed_.notify_all();
  pin_again(lock);
  try_unavailable(lock);
  publish();
}

// Forgets all lines but those of system and nursery ranges.
void Pager::reset(const LineMap& map) {
  std::vector<Line> kept;
  std::vector<Line> gone;
  resident_.for_each([&](Line line) { (table_.has(line, kSpecial) ? kept : gone).push_back(line); });
  std::ranges::sort(gone);
  for (Lines lines : merge(gone)) free_memory(lines);
  resident_.clear();
  table_.reset(kept);
  line_map_ = map;
  for (Lines lines : special_) for_each_line(lines, [this](Line line) { table_.set(line, kSpecial); });
  for (Line line : kept) resident_.add_active(line);
  frames_used_ = dirty_pages_ = pages_in(kept);
  stored_.clear();
  stored_pages_ = 0;
  discarded_.clear();
  marks_.clear();
  wanted_.clear();
  userfault_.wake(memory_.view(0, memory_.size()));
}

}  // namespace ckpt::vmheap
