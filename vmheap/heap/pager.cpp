#include "heap/pager.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "heap/checkpoint_keeper.h"

namespace ckpt::vmheap {

using store::kPageBytes;

namespace {

constexpr std::uint64_t kMostReadAheadBytes = 1ULL << 20;
// Windows on their way at once: while one waits for the disk, the next one before it is checked and mapped.
constexpr unsigned kReadersAhead = 2;
constexpr std::uint64_t kLeastLimitLines = 16;
constexpr std::uint64_t kMostHeapBytes = 16ULL << 40;

}  // namespace

std::uint64_t Pager::limit_in_pages(std::uint64_t bytes, const LineMap& map) {
  std::uint64_t longest = map.longest() * kPageBytes;
  if (bytes < kLeastLimitLines * longest) {
    throw Error(fmt::format("a resident limit of {} bytes is too small for lines of {}; give at least {}",
                            bytes, longest, kLeastLimitLines * longest),
                EINVAL);
  }
  return bytes / kPageBytes;
}

Pager::Pager(HeapMemory& memory, LineStore& store, const OpenOptions& options)
    : memory_(memory),
      store_(store),
      read_only_(options.read_only),
      line_map_(store.geometry().regions),
      table_(kMostHeapBytes / kPageBytes),
      resident_(table_, line_map_),
      sequential_(std::min(kMostReadAheadBytes, options.resident_limit / 8 / kReadersAhead) / kPageBytes),
      limit_(limit_in_pages(options.resident_limit, line_map_)),
      lock_identity_(options.read_only ? std::nullopt : store.lock_identity()) {
  userfault_.watch(memory_.view(0, memory_.size()));
  for (unsigned i = 0; i < std::max(options.fault_threads, 1U); ++i)
    threads_.emplace_back([this] { handle_faults(); });
  threads_.emplace_back([this] { clean(); });
  for (unsigned i = 0; i < kReadersAhead; ++i) threads_.emplace_back([this] { read_ahead(); });
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

std::uint64_t Pager::count(Lines lines) const {
  std::uint64_t result = 0;
  for_each_line(lines, [&result](Line) { ++result; });
  return result;
}

std::uint64_t Pager::pages_in(const std::vector<Line>& lines) const {
  std::uint64_t result = 0;
  for (Line line : lines) result += line_map_.length(line);
  return result;
}

std::vector<Pager::Lines> Pager::merge(const std::vector<Line>& ascending) const {
  std::vector<Lines> result;
  for (Line line : ascending) {
    if (!result.empty() && result.back().end() == line) {
      result.back().pages += line_map_.length(line);
    } else {
      result.push_back(one(line));
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
  LineState state = table_.state(line_map_.line_of(page_of(fault.address)));
  return state == LineState::kResident || state == LineState::kDirty || state == LineState::kBusy;
}

void Pager::serve(const Fault& fault) {
  Lock lock(mutex_);
  if (fault.minor) ++counts_.minor_faults;
  ++(fault.minor || fault.write_protected ? counts_.hits : counts_.missing_faults);
  Access access = fault.write ? Access::kWrite : Access::kRead;
  for (;;) {
    Line line = line_map_.line_of(page_of(fault.address));
    if (noting_ && !has_room_for_note(line, access) &&
        !(serves_kernel() && waits_in_system_call(fault.thread))) {
      deferred_.push_back(line);
      return;
    }
    if (bring(lock, line, access, fault.write_protected) != Outcome::kAgain) return publish();
    if (!is_busy(line)) continue;
    wanted_.insert(line);  // woken when it is not busy any more
    return;
  }
}

// kAgain: the line is busy, or was while the lock was given up.
Pager::Outcome Pager::bring(Lock& lock, Line line, Access access, bool is_mapped) {
  if (reshaping_) return Outcome::kAgain;
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
    // Several windows ahead only of who has come as far as to the longest ones.
    bool goes_far = mark->second.distance + line_map_.length(line) >= sequential_.most();
    unsigned windows = goes_far ? kReadersAhead : 1;
    Wanted next{.lines = {.first = line + mark->second.distance, .pages = 0},
                .access = mark->second.access,
                .now = false,
                .windows_before = windows - 1};
    to_read_ahead_.insert(to_read_ahead_.end(), windows, next);
    marks_.erase(mark);
    ahead_.notify_all();
    if (is_in(in_order_, line)) leave_behind(line);
  }
  if (access == Access::kWrite && table_.state(line) == LineState::kWaiting) {
    store_waiting(lock, line);
    return Outcome::kAgain;
  }
  if (access == Access::kWrite && table_.state(line) == LineState::kResident) {
    table_.set_state(line, LineState::kDirty);
    dirty_pages_ += line_map_.length(line);
    ++counts_.write_faults;
  }
  Access allowed = table_.state(line) == LineState::kDirty ? Access::kWrite : Access::kRead;
  if (is_mapped && allowed == Access::kWrite) {
    userfault_.unprotect(view_of(one(line)));
  } else {
    map(one(line), allowed);
  }
  return Outcome::kDone;
}

// A commit has frozen the line, and somebody wants to write to it.
void Pager::store_waiting(Lock& lock, Line line) {
  begin_busy(line);
  ++storing_waiting_;
  put_lines(lock,
            {line});  // after a failure the commit fails, and the line is newer than the store's all the same
  if (--storing_waiting_ == 0) changed_.notify_all();
  dirty_pages_ += line_map_.length(line);
  end_busy(line, LineState::kDirty);
}

void Pager::map(Lines lines, Access access) { userfault_.map(view_of(lines), access); }

Pager::Outcome Pager::fill(Lock& lock, Line line, Access access) {
  std::uint64_t pages = line_map_.length(line);
  bool reserved = reserve_frames(lock, pages);
  // Meanwhile somebody else may have filled it, or made lines of another size of it.
  bool is_same = !reshaping_ && line_map_.line_of(line) == line && line_map_.length(line) == pages;
  if (!is_same || table_.has_frame(line)) {
    if (reserved) frames_used_ -= pages;
    return Outcome::kAgain;
  }
  if (!reserved) {
    if (!stopping_)
      unavailable(line, failure_.empty() ? "nothing can be evicted; raise the resident limit" : failure_);
    return Outcome::kFailed;
  }
  Lines lines = choose_fill(line, noting_ ? pages : std::min(window(line), pages + free_frames()));
  if (!noting_ && is_in(in_order_, line)) leave_behind(line);
  frames_used_ += lines.pages - pages;
  counts_.read_ahead_lines += count(lines) - 1;
  load(lock, {.lines = lines, .access = access});
  return Outcome::kDone;
}

// How many pages a fault at `line` should bring in.
std::uint64_t Pager::window(Line line) {
  std::uint64_t length = line_map_.length(line);
  if (is_in(at_random_, line)) return length;
  std::uint64_t found = sequential_.window(line, length);
  return is_in(in_order_, line) ? std::max(sequential_.most(), length) : found;
}

// Lines from `line` on that are in the same place as it, so that one read gets them all.
Pager::Lines Pager::choose_fill(Line line, std::uint64_t most) const {
  Lines lines = one(line);
  auto alike = [&](Line other) {
    return other < line_map_.end() && table_.state(other) == table_.state(line) &&
           table_.has(other, kStored) == table_.has(line, kStored) &&
           table_.has(other, kSpecial) == table_.has(line, kSpecial);
  };
  while (lines.pages < most && alike(lines.end())) {
    std::uint64_t pages = lines.pages + line_map_.length(lines.end());
    if (pages > most) break;
    lines.pages = pages;
  }
  return lines;
}

// Frames for the lines are reserved.
void Pager::load(Lock& lock, const Wanted& wanted) {
  Lines lines = wanted.lines;
  LineState before = table_.state(lines.first);
  bool is_zero = before == LineState::kEmpty || table_.has(lines.first, kSpecial);
  bool from_put = table_.has(lines.first, kStored);
  for_each_line(lines, [this](Line line) { begin_busy(line); });
  lock.unlock();
  std::string cause;
  std::uint64_t found = 0;
  try {
    std::span<std::byte> bytes = alias_of(lines);
    memory_.make_frames(lines.first * kPageBytes, bytes.size());
    if (!is_zero)
      found = from_put ? store_.read_put(pages_of(lines), bytes) : store_.read(pages_of(lines), bytes);
  } catch (const Error& error) {
    cause = error.what();
  }
  if (!cause.empty()) free_memory(lines);
  lock.lock();
  counts_.bytes_in += found * kPageBytes;
  if (cause.empty()) {
    install(wanted, is_zero ? LineState::kEmpty : before, found > 0);
    return;
  }
  Lines first = one(lines.first);
  frames_used_ -= lines.pages - first.pages;
  for_each_line(lines, [&](Line line) { end_busy(line, before); });
  if (lines.pages > first.pages) {  // the cause may be in a line that nobody asked for
    load(lock, {.lines = first, .access = wanted.access, .now = wanted.now});
    return;
  }
  frames_used_ -= first.pages;
  unavailable(lines.first, cause);
}

void Pager::install(const Wanted& wanted, LineState before, bool found) {
  Lines lines = wanted.lines;
  bool writes = wanted.access == Access::kWrite;
  // Zeroes that are written in order: the next lines will be written as well.
  bool all_dirty = before == LineState::kEmpty || (writes && !found);
  bool first_dirty = all_dirty || (writes && wanted.now);
  for_each_line(lines, [&](Line line) {
    bool dirty = line == lines.first ? first_dirty : all_dirty;
    if (dirty) dirty_pages_ += line_map_.length(line);
    is_in(in_order_, line) ? resident_.add_for_once(line) : resident_.add(line);
    end_busy(line, dirty ? LineState::kDirty : LineState::kResident);
  });
  Lines first = one(lines.first);
  map(first, first_dirty ? Access::kWrite : Access::kRead);
  Lines rest{.first = first.end(), .pages = lines.pages - first.pages};
  // The second line is left unmapped: the fault there asks for what comes after this window.
  if (wanted.goes_on && lines.pages >= 4 * first.pages) {
    marks_[rest.first] = {.distance = rest.pages, .access = all_dirty ? Access::kWrite : Access::kRead};
    std::uint64_t second = line_map_.length(rest.first);
    rest = {.first = rest.first + second, .pages = rest.pages - second};
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
    userfault_.wake(view_of(one(line)));
    changed_.notify_all();
  }
}

void Pager::unavailable(Line line, const std::string& cause) {
  record_failure(cause);
  userfault_.poison(view_of(one(line)));
  unavailable_.insert(line);
}

// Its cause may be gone.
void Pager::try_unavailable(Lock& lock) {
  for (Line line : std::exchange(unavailable_, {})) {
    if (line_map_.line_of(line) == line) bring_to_stay(lock, line, Access::kRead);
  }
}

// Over what another reader has, or had before.
void Pager::skip_windows(Wanted& wanted) const {
  Line& first = wanted.lines.first;
  std::uint64_t last = first + wanted.windows_before * std::max(sequential_.most(), line_map_.length(first));
  while (first < std::min(last, line_map_.end()) && table_.has_frame(first)) first = line_map_.next(first);
}

void Pager::read_ahead() {
  KeeperThread keeper;
  Lock lock(mutex_);
  for (;;) {
    ahead_.wait(lock,
                [&] { return stopping_ || held_ || (!noting_ && !reshaping_ && !to_read_ahead_.empty()); });
    if (stopping_) return;
    if (held_) {
      park(lock);
      continue;
    }
    Wanted wanted = to_read_ahead_.front();
    to_read_ahead_.pop_front();
    skip_windows(wanted);
    const Lines next = wanted.lines;
    if (next.first >= line_map_.end() || table_.has_frame(next.first)) continue;
    std::uint64_t pages = next.pages != 0 ? next.pages : window(next.first);
    // A window that is cut short leaves a gap in front of what another reader has. But what is in use is not
    // given up for what may be wanted: only as long as something is free at once.
    std::uint64_t before = 0;
    do {
      before = free_frames();
    } while (before < pages && !stopping_ && !held_ && !reshaping_ && reclaim(lock, pages) &&
             free_frames() > before);
    // Meanwhile lines of another size may have been made of it.
    if (reshaping_ || line_map_.line_of(next.first) != next.first) continue;
    if (free_frames() < line_map_.length(next.first) || table_.has_frame(next.first)) continue;
    wanted.lines = choose_fill(next.first, std::min(pages, free_frames()));
    // Zeroes that nobody has written to would become dirty for nothing.
    bool is_zero = table_.state(next.first) == LineState::kEmpty || table_.has(next.first, kSpecial);
    if (is_zero && wanted.access != Access::kWrite) continue;
    frames_used_ += wanted.lines.pages;
    counts_.read_ahead_lines += count(wanted.lines);
    load(lock, wanted);
    publish();
  }
}

}  // namespace ckpt::vmheap
