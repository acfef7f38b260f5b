// Frames are given back here: clean lines first, dirty ones after they were stored early, in large writes.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "heap/checkpoint_keeper.h"
#include "heap/pager.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kBatch = (1ULL << 20) / store::kPageBytes;  // stored or evicted at once
constexpr std::uint64_t kMostKeptFree = (4ULL << 20) / store::kPageBytes;

}  // namespace

std::uint64_t Pager::frames_to_keep_free() const { return std::min(limit_ / 16, kMostKeptFree); }

bool Pager::reserve_frames(Lock& lock, std::uint64_t pages) {
  bool tried_again = false;
  while (free_frames() < pages) {
    if (stopping_ || reshaping_) return false;
    if (reclaim(lock, std::max(pages, frames_to_keep_free() / 4))) continue;
    if (make_unread_cold(pages)) continue;
    if (committing_ || noting_ || busy_count_ != 0) {
      changed_.wait(lock);
    } else if (std::exchange(tried_again, true) || !store_again(lock)) {
      return false;
    }
  }
  frames_used_ += pages;
  if (free_frames() < frames_to_keep_free() / 2) {
    cleaning_pays_ = true;
    work_.notify_one();
  }
  return true;
}

// All that is left is dirty, and the store refused it before: it may have space by now.
bool Pager::store_again(Lock& lock) {
  if (!store_failed_) return false;
  try {
    restart_store(lock);
    store_failed_ = false;
  } catch (const Error& error) {
    if (!lock.owns_lock()) lock.lock();
    record_failure(error.what());
  }
  return !store_failed_;
}

// Makes free frames, or comes nearer to it. False: nothing can be done now.
bool Pager::reclaim(Lock& lock, std::uint64_t wanted) {
  wanted = std::min(wanted, kBatch);
  // Of those in the lists: while much is on its way in and out, what is in use would look like too much.
  bool made_cold =
      resident_.inactive_pages() < std::max(2 * wanted, resident_.pages() / 4) && make_cold(2 * wanted);
  bool made_clean = false;
  Candidates found = pick_candidates(wanted);
  if (found.clean_pages * 2 >= wanted || found.dirty.empty() || !may_store_early()) {
    for (Line line : found.dirty) resident_.add_inactive(line);
  } else {
    // Back into the list: while the lock is given up they may be used, and a commit looks for dirty lines in
    // the lists.
    for (Line line : found.clean) resident_.add_inactive(line);
    found.clean = flush_unused(lock, std::move(found.dirty));
    made_clean = !store_failed_;
  }
  if (!found.clean.empty()) {
    evict(lock, std::move(found.clean));
    return true;
  }
  return made_clean || made_cold || found.used;
}

// Unmaps lines that were not looked at for long, to see whether they are used again.
bool Pager::make_cold(std::uint64_t pages) {
  std::vector<Line> chosen;
  std::uint64_t found = 0;
  for (std::uint64_t left = resident_.active_count(); left > 0 && found < pages; --left) {
    auto line = resident_.take_active();
    if (!line) break;
    if (table_.has(*line, kPinned) || table_.has(*line, kSpecial) ||
        table_.state(*line) == LineState::kBusy) {
      resident_.add_active(*line);
      continue;
    }
    table_.set(*line, kCold);
    marks_.erase(*line);
    resident_.add_inactive(*line);
    chosen.push_back(*line);
    found += line_map_.length(*line);
  }
  std::ranges::sort(chosen);
  for (Lines lines : merge(chosen)) unmap(lines);
  return found > 0;
}

// What was read ahead in order, where there is nothing else to give up. As many at once as it pays to look
// through all lines for.
bool Pager::make_unread_cold(std::uint64_t pages) {
  pages = std::max(pages, resident_.pages() / 64);
  std::vector<Line> chosen;
  std::uint64_t found = 0;
  resident_.for_each([&](Line line) {
    bool may_be = found < pages && is_in(in_order_, line) && table_.has_frame(line) &&
                  table_.state(line) != LineState::kBusy && !table_.has(line, kCold) &&
                  !table_.has(line, kPinned) && !table_.has(line, kSpecial);
    if (!may_be) return;
    table_.set(line, kCold);
    marks_.erase(line);
    chosen.push_back(line);
    found += line_map_.length(line);
  });
  std::ranges::sort(chosen);
  for (Lines lines : merge(chosen)) unmap(lines);
  if (found > 0) resident_.put_first([this](Line line) { return table_.has(line, kCold); });
  return found > 0;
}

Pager::Candidates Pager::pick_candidates(std::uint64_t wanted) {
  Candidates found;
  for (std::uint64_t left = resident_.inactive_count(); left > 0 && found.clean_pages < wanted; --left) {
    auto line = resident_.take_inactive();
    if (!line) break;
    LineState state = table_.state(*line);
    if (table_.has(*line, kPinned) || table_.has(*line, kSpecial)) {
      resident_.add_active(*line);
    } else if (!table_.has(*line, kCold) && is_in(in_order_, *line)) {
      resident_.add_inactive(*line);  // read ahead, for once: what is used again is not displaced by it
    } else if (!table_.has(*line, kCold)) {
      resident_.add_active(*line);
      found.used = true;
    } else if (state == LineState::kResident) {
      found.clean.push_back(*line);
      found.clean_pages += line_map_.length(*line);
    } else if (state == LineState::kDirty && found.dirty_pages < kBatch) {
      found.dirty.push_back(*line);
      found.dirty_pages += line_map_.length(*line);
    } else {
      resident_.add_inactive(*line);
      // Enough to store at once; looking further costs more than it brings.
      if (state == LineState::kDirty && found.clean.empty() && may_store_early()) break;
    }
  }
  return found;
}

// The lines are kResident, cold, and taken from the lists.
void Pager::evict(Lock& lock, std::vector<Line> lines) {
  std::ranges::sort(lines);
  std::vector<Lines> runs = merge(lines);
  for (Line line : lines) begin_busy(line);
  lock.unlock();
  for (Lines run : runs) free_memory(run);
  lock.lock();
  for (Line line : lines) {
    table_.clear(line, kListed);
    table_.clear(line, kCold);
    frames_used_ -= line_map_.length(line);
    end_busy(line, LineState::kPersistent);
  }
  counts_.evictions += lines.size();
  changed_.notify_all();
}

// Stores dirty lines early, and returns those that nobody wanted meanwhile, which are clean now; the others
// are in the lists.
std::vector<Line> Pager::flush_unused(Lock& lock, std::vector<Line> lines) {
  std::vector<Line> unused;
  bool stored = flush(lock, lines);
  for (Line line : lines) {
    bool goes = stored && table_.has(line, kCold) && !table_.has(line, kPinned);
    goes ? unused.push_back(line) : resident_.add_inactive(line);
  }
  return unused;
}

// Stores dirty lines early; they are cold and taken from the lists. False: they stay dirty.
bool Pager::flush(Lock& lock, std::vector<Line>& lines) {
  std::ranges::sort(lines);
  for (Line line : lines) begin_busy(line);
  flushing_count_ += lines.size();
  bool stored = put_lines(lock, lines);
  for (Line line : lines) {
    if (stored) {
      note_stored(line);
      dirty_pages_ -= line_map_.length(line);
    }
    end_busy(line, stored ? LineState::kResident : LineState::kDirty);
  }
  flushing_count_ -= lines.size();
  changed_.notify_all();
  if (!stored) return false;
  counts_.early_stores += lines.size();
  return true;
}

// The lines are busy. False, with failure_ set, if the store refuses them.
bool Pager::put_lines(Lock& lock, const std::vector<Line>& ascending) {
  std::vector<Lines> runs = merge(ascending);
  std::uint64_t pages = pages_in(ascending);
  lock.unlock();
  std::string cause;
  try {
    for (Lines lines : runs) store_.put(pages_of(lines).first_page, alias_of(lines));
  } catch (const Error& error) {
    cause = error.what();
  }
  lock.lock();
  if (cause.empty()) {
    counts_.bytes_out += pages * store::kPageBytes;
    return true;
  }
  record_failure(cause);
  store_failed_ = true;
  return false;
}

void Pager::clean() {
  KeeperThread keeper;
  Lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] {
      return stopping_ || held_ || (cleaning_pays_ && !reshaping_ && free_frames() < frames_to_keep_free());
    });
    if (stopping_) return;
    if (held_) {
      park(lock);
      continue;
    }
    cleaning_pays_ = reclaim(lock, frames_to_keep_free() - free_frames());
    publish();
  }
}

}  // namespace ckpt::vmheap
