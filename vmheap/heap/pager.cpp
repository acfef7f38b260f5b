#include "heap/pager.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/remote_addr.h"
#include "heap/checkpoint_keeper.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kMostReadAheadBytes = 1ULL << 20;
constexpr std::uint64_t kLeastLimitLines = 16;
constexpr std::uint64_t kMostHeapBytes = 16ULL << 40;

std::uint64_t limit_in_lines(std::uint64_t bytes, std::uint64_t line_bytes) {
  std::uint64_t lines = bytes / line_bytes;
  if (lines < kLeastLimitLines) {
    throw Error(fmt::format("a resident limit of {} bytes is too small for lines of {}; give at least {}",
                            bytes, line_bytes, kLeastLimitLines * line_bytes),
                EINVAL);
  }
  return lines;
}

}  // namespace

Pager::Pager(HeapMemory& memory, LineStore& store, const OpenOptions& options)
    : memory_(memory),
      store_(store),
      line_bytes_(store.geometry().line_bytes),
      read_only_(options.read_only),
      table_(kMostHeapBytes / line_bytes_),
      resident_(table_),
      sequential_(std::min(kMostReadAheadBytes, options.resident_limit / 8) / line_bytes_),
      limit_(limit_in_lines(options.resident_limit, line_bytes_)) {
  userfault_.watch(memory_.view(0, memory_.size()));
  for (unsigned i = 0; i < std::max(options.fault_threads, 1U); ++i)
    threads_.emplace_back([this] { handle_faults(); });
  threads_.emplace_back([this] { clean(); });
  threads_.emplace_back([this] { read_ahead(); });
}

Pager::~Pager() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  userfault_.stop();
  changed_.notify_all();
  work_.notify_all();
  ahead_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

store::PageRun Pager::pages_of(Lines lines) const {
  std::uint64_t pages = line_bytes_ / kPageSize;
  return {.first_page = lines.first * pages, .page_count = lines.count * pages};
}

std::vector<Pager::Lines> Pager::merge(const std::vector<Line>& ascending) {
  std::vector<Lines> result;
  for (Line line : ascending) {
    if (!result.empty() && result.back().first + result.back().count == line) {
      ++result.back().count;
    } else {
      result.push_back({.first = line, .count = 1});
    }
  }
  return result;
}

// One handler waits for messages at a time, so that a fault wakes one thread. It hands over before it waits
// for the disk.
void Pager::handle_faults() {
  KeeperThread keeper;
  for (;;) {
    std::unique_lock reading(reading_faults_);
    auto fault = userfault_.next();
    for (; fault && is_quick(*fault); fault = userfault_.next()) serve(*fault);
    reading.unlock();
    if (fault) {
      serve(*fault);
      continue;
    }
    Lock lock(mutex_);
    if (stopping_) return;
    park(lock);
  }
}

bool Pager::is_quick(const Fault& fault) const {
  std::lock_guard lock(mutex_);
  LineState state = table_.state((fault.address - memory_.base()) / line_bytes_);
  return state == LineState::kResident || state == LineState::kDirty || state == LineState::kBusy;
}

void Pager::serve(const Fault& fault) {
  Line line = (fault.address - memory_.base()) / line_bytes_;
  Lock lock(mutex_);
  if (fault.minor) ++counts_.minor_faults;
  if (!fault.minor && !fault.write_protected) ++counts_.missing_faults;
  Access access = fault.write ? Access::kWrite : Access::kRead;
  if (noting_ && !has_room_for_note(line, access)) {
    deferred_.push_back(line);
    return;
  }
  while (bring(lock, line, access, fault.write_protected) == Outcome::kAgain) {
    if (table_.state(line) != LineState::kBusy) continue;
    wanted_.insert(line);  // woken when it is not busy any more
    return;
  }
}

// kAgain: the line is busy, or was while the lock was given up.
Pager::Outcome Pager::bring(Lock& lock, Line line, Access access, bool is_mapped) {
  switch (table_.state(line)) {
    case LineState::kBusy:
      return Outcome::kAgain;
    case LineState::kPersistent:
    case LineState::kEmpty:
      return fill(lock, line, access);
    default:
      return touch(lock, line, access, is_mapped);
  }
}

Pager::Outcome Pager::touch(Lock& lock, Line line, Access access, bool is_mapped) {
  table_.clear(line, kCold);
  if (auto mark = marks_.find(line); mark != marks_.end()) {
    to_read_ahead_.push_back({.lines = {.first = line + mark->second.distance, .count = 0},
                              .access = mark->second.access,
                              .now = false});
    marks_.erase(mark);
    ahead_.notify_one();
  }
  if (access == Access::kWrite && table_.state(line) == LineState::kWaiting) {
    store_waiting(lock, line);
    return Outcome::kAgain;
  }
  if (access == Access::kWrite && table_.state(line) == LineState::kResident) {
    table_.set_state(line, LineState::kDirty);
    ++dirty_count_;
    ++counts_.write_faults;
  }
  Access allowed = table_.state(line) == LineState::kDirty ? Access::kWrite : Access::kRead;
  if (is_mapped && allowed == Access::kWrite) {
    userfault_.unprotect(view_of({.first = line, .count = 1}));
  } else {
    map({.first = line, .count = 1}, allowed);
  }
  return Outcome::kDone;
}

// A commit has frozen the line, and somebody wants to write to it.
void Pager::store_waiting(Lock& lock, Line line) {
  begin_busy(line);
  put_lines(lock,
            {line});  // after a failure the commit fails, and the line is newer than the store's all the same
  ++dirty_count_;
  end_busy(line, LineState::kDirty);
}

void Pager::map(Lines lines, Access access) { userfault_.map(view_of(lines), access); }

Pager::Outcome Pager::fill(Lock& lock, Line line, Access access) {
  if (!reserve_frames(lock, 1)) {
    if (!stopping_)
      unavailable(line, failure_.empty() ? "nothing can be evicted; raise the resident limit" : failure_);
    return Outcome::kFailed;
  }
  if (table_.has_frame(line)) {  // filled by somebody else while frames were found
    --frames_used_;
    return Outcome::kAgain;
  }
  std::uint64_t window = noting_ ? 1 : std::min(sequential_.window(line), 1 + free_frames());
  Lines lines = choose_fill(line, window);
  frames_used_ += lines.count - 1;
  counts_.read_ahead_lines += lines.count - 1;
  load(lock, {.lines = lines, .access = access});
  return Outcome::kDone;
}

// Lines from `line` on that are in the same place as it, so that one read gets them all.
Pager::Lines Pager::choose_fill(Line line, std::uint64_t most) const {
  Lines lines{.first = line, .count = 1};
  auto alike = [&](Line other) {
    return other < line_count() && table_.state(other) == table_.state(line) &&
           table_.has(other, kStored) == table_.has(line, kStored) &&
           table_.has(other, kSpecial) == table_.has(line, kSpecial);
  };
  while (lines.count < most && alike(line + lines.count)) ++lines.count;
  return lines;
}

// Frames for the lines are reserved.
void Pager::load(Lock& lock, const Wanted& wanted) {
  Lines lines = wanted.lines;
  LineState before = table_.state(lines.first);
  bool is_zero = before == LineState::kEmpty || table_.has(lines.first, kSpecial);
  bool from_put = table_.has(lines.first, kStored);
  for (std::uint64_t i = 0; i < lines.count; ++i) begin_busy(lines.first + i);
  lock.unlock();
  std::string cause;
  std::uint64_t found = 0;
  try {
    std::span<std::byte> bytes = alias_of(lines);
    memory_.make_frames(lines.first * line_bytes_, lines.count * line_bytes_);
    if (!is_zero)
      found = from_put ? store_.read_put(pages_of(lines), bytes) : store_.read(pages_of(lines), bytes);
  } catch (const Error& error) {
    cause = error.what();
  }
  if (!cause.empty()) memory_.free_frames(lines.first * line_bytes_, lines.count * line_bytes_);
  lock.lock();
  counts_.bytes_in += found * kPageSize;
  if (cause.empty()) {
    install(wanted, is_zero ? LineState::kEmpty : before, found > 0);
    return;
  }
  frames_used_ -= lines.count - 1;
  for (std::uint64_t i = 0; i < lines.count; ++i) end_busy(lines.first + i, before);
  if (lines.count > 1) {  // the cause may be in a line that nobody asked for
    load(lock, {.lines = {.first = lines.first, .count = 1}, .access = wanted.access, .now = wanted.now});
    return;
  }
  --frames_used_;
  unavailable(lines.first, cause);
}

void Pager::install(const Wanted& wanted, LineState before, bool found) {
  Lines lines = wanted.lines;
  bool writes = wanted.access == Access::kWrite;
  // Zeroes that are written in order: the next lines will be written as well.
  bool all_dirty = before == LineState::kEmpty || (writes && !found);
  bool first_dirty = all_dirty || (writes && wanted.now);
  for (std::uint64_t i = 0; i < lines.count; ++i) {
    bool dirty = i == 0 ? first_dirty : all_dirty;
    dirty_count_ += dirty ? 1 : 0;
    resident_.add(lines.first + i);
    end_busy(lines.first + i, dirty ? LineState::kDirty : LineState::kResident);
  }
  map({.first = lines.first, .count = 1}, first_dirty ? Access::kWrite : Access::kRead);
  if (lines.count == 1) return;
  // The second line is left unmapped: the fault there asks for what comes after this window.
  Lines rest{.first = lines.first + 1, .count = lines.count - 1};
  if (wanted.goes_on && lines.count >= 4) {
    marks_[rest.first] = {.distance = rest.count, .access = all_dirty ? Access::kWrite : Access::kRead};
    ++rest.first;
    --rest.count;
  }
  map(rest, all_dirty ? Access::kWrite : Access::kRead);
}

void Pager::begin_busy(Line line) {
  table_.set_state(line, LineState::kBusy);
  ++busy_count_;
}

void Pager::end_busy(Line line, LineState state) {
  table_.set_state(line, state);
  if (--busy_count_ == 0) changed_.notify_all();
  if (wanted_.erase(line) != 0) {
    userfault_.wake(view_of({.first = line, .count = 1}));
    changed_.notify_all();
  }
}

void Pager::unavailable(Line line, const std::string& cause) {
  record_failure(cause);
  userfault_.poison(view_of({.first = line, .count = 1}));
}

void Pager::read_ahead() {
  KeeperThread keeper;
  Lock lock(mutex_);
  for (;;) {
    ahead_.wait(lock, [&] { return stopping_ || held_ || (!noting_ && !to_read_ahead_.empty()); });
    if (stopping_) return;
    if (held_) {
      park(lock);
      continue;
    }
    Wanted wanted = to_read_ahead_.front();
    const Lines next = wanted.lines;
    to_read_ahead_.pop_front();
    if (next.first >= line_count() || table_.has_frame(next.first)) continue;
    std::uint64_t window = next.count != 0 ? next.count : sequential_.window(next.first);
    if (free_frames() < window) reclaim(lock, window);
    if (free_frames() == 0 || table_.has_frame(next.first)) continue;
    wanted.lines = choose_fill(next.first, std::min(window, free_frames()));
    // Zeroes that nobody has written to would become dirty for nothing.
    bool is_zero = table_.state(next.first) == LineState::kEmpty || table_.has(next.first, kSpecial);
    if (is_zero && wanted.access != Access::kWrite) continue;
    frames_used_ += wanted.lines.count;
    counts_.read_ahead_lines += wanted.lines.count;
    load(lock, wanted);
  }
}

}  // namespace ckpt::vmheap
