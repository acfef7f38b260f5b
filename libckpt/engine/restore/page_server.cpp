#include "engine/restore/page_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/remote_addr.h"
#include "engine/capture/memory.h"
#include "engine/capture/memory_map.h"
#include "engine/restore/program_family.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kWindowPages = 16;     // brought with a page that the program waits for
constexpr std::uint64_t kLongestWindow = 256;  // where it goes through its memory in order
constexpr std::uint64_t kLongestZeroes = 64;
constexpr std::uint64_t kReadPages = 512;
constexpr std::uint64_t kSlicePages = 64;  // installed between two looks at who waits
constexpr std::size_t kReadsAhead = 6;
constexpr unsigned kFollowedWindows = 4;        // so many of the longest in a row, and it is followed
constexpr std::chrono::microseconds kSpin{50};  // a thread that faults once faults again
constexpr std::chrono::seconds kRecording{5};
constexpr int kDeathMs = 2000;

UniqueFd make_eventfd() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) throw_errno("create an eventfd");
  return fd;
}

void signal_eventfd(int fd) {
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t put = ::write(fd, &one, sizeof one);
}

std::uint64_t microseconds_since(std::chrono::steady_clock::time_point start) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start)
          .count());
}

}  // namespace

PageServer::PageServer(PageServerWork work)
    : work_(std::move(work)),
      recording_(!work_.stays && work_.directory >= 0 && work_.memories.front().space == kProcessSpace),
      zeroes_(kLongestZeroes * kPageSize),
      done_fd_(make_eventfd()),
      control_fd_(make_eventfd()) {
  if (!work_.stays) reads_.emplace(*work_.reader);
  if (recording_) {
    remove_stale_touched(work_.directory);
    touched_ = load_touched(work_.directory, work_.reader->description().version);
  }
  prefetch_count_ = touched_.in_order().size();
  for (LazyMemory& memory : work_.memories) {
    spaces_.push_back({.pid = memory.pid,
                       .id = memory.space,
                       .order = &memory.order,
                       .faults = std::move(memory.faults),
                       .missing = std::move(memory.missing)});
  }
  thread_ = std::jthread([this] { run(); });
}

PageServer::~PageServer() {
  stop_ = true;
  wake_server();
}

void PageServer::hurry() {
  hurry_ = true;
  wake_server();
}

void PageServer::wake_server() const { signal_eventfd(control_fd_.get()); }

void PageServer::run() noexcept {
  try {
    serve();
    if (!stop_) finish_recording();
  } catch (const std::exception& error) {
    report_.failure = error.what();
    end_program();
  }
  report_.total_us = microseconds_since(started_);
  {
    std::lock_guard lock(mutex_);
    deaf_ = true;
    calls_.clear();  // whoever waits for an answer learns that there is none
  }
  if (stop_) return;  // who stops us takes care of the rest
  for (Space& space : spaces_) space.faults = UserFaults(UniqueFd());
  done_ = true;
  signal_eventfd(done_fd_.get());
}

void PageServer::end_program() {
  kill_families(work_.processes);
  have_ended(work_.processes, kDeathMs);
}

void PageServer::serve() {
  while (!stop_ && goes_on()) {
    if (hurry_) read_faster();
    read_messages();
    answer_calls();
    if (serve_fault()) continue;
    request_reads();
    if (install_slice()) continue;
    if (recording_ && Clock::now() - started_ > kRecording) finish_recording();
    wait();
  }
}

void PageServer::close(Space& space) {
  space.over = true;
  space.faults = UserFaults(UniqueFd());
}

bool PageServer::goes_on() {
  if (!work_.stays) return anything_missing();
  if (hurry_) {
    read_all_messages();
    for (Space& space : spaces_) complete(space);
    return false;
  }
  forget_ended_children();
  return true;
}

bool PageServer::anything_missing() {
  for (Space& space : spaces_) {
    if (space.over || !space.missing.empty()) continue;
    close(space);  // while others go on: its threads must not wait for us any longer
  }
  return std::ranges::any_of(spaces_, [](const Space& space) { return !space.over; });
}

// ---- where it stays --------------------------------------------------------------------------------------

void PageServer::call(std::function<void()> work) {
  std::packaged_task<void()> task(std::move(work));
  std::future<void> answer = task.get_future();
  {
    std::lock_guard lock(mutex_);
    if (deaf_) throw Error("memory of the program was lost");
    calls_.push_back(std::move(task));
  }
  wake_server();
  try {
    answer.get();
  } catch (const std::future_error&) {
    throw Error("memory of the program was lost");
  }
}

void PageServer::answer_calls() {
  for (;;) {
    std::packaged_task<void()> task;
    {
      std::lock_guard lock(mutex_);
      if (calls_.empty()) return;
      task = std::move(calls_.front());
      calls_.pop_front();
    }
    task();
  }
}

void PageServer::watch_program(pid_t pid, UserFaults faults) {
  call([&] {
    Space space{.pid = pid, .id = kProcessSpace, .faults = std::move(faults), .missing = {}};
    moved_to_.clear();
    if (spaces_.empty()) {
      spaces_.push_back(std::move(space));
    } else {
      spaces_.front() = std::move(space);  // it has executed another program
    }
  });
}

void PageServer::forget_program() {
  call([this] {
    moved_to_.clear();
    Space& program = spaces_.front();
    program.missing = program.settled = {};
    close(program);
  });
}

// Its process stands still, or is in nobody's way.
void PageServer::complete(Space& space) {
  for (const MissingPiece& piece : space.missing.all()) bring(space, piece);
  close(space);
}

void PageServer::bring(Space& space, const MissingPiece& piece) {
  for (std::uint64_t done = 0; done < piece.page_count && !space.missing.empty();) {
    std::uint64_t count = std::min(kReadPages, piece.page_count - done);
    std::span<std::byte> bytes = buffer_.pages(count);
    work_.reader->read(space.id, {.first_page = piece.source + done, .page_count = count}, bytes);
    if (!install(space, piece.page + done, bytes, false)) {
      read_messages();  // it is changing its memory
      continue;
    }
    done += count;
  }
}

void PageServer::bring(const std::vector<store::PageRun>& runs) {
  call([&] {
    Space& program = spaces_.front();
    MissingPages missing = program.missing;
    for (const store::PageRun& run : runs) {
      for (const MissingPiece& piece : missing.take(run.first_page, run.page_count)) bring(program, piece);
    }
  });
}

// Nobody tells of the end of an address space: a page that cannot be there shows it.
void PageServer::forget_ended_children() {
  constexpr std::chrono::seconds kOften{1};
  if (spaces_.size() < 2 || Clock::now() - looked_at_children_ < kOften) return;
  looked_at_children_ = Clock::now();
  for (auto space = spaces_.begin() + 1; space != spaces_.end(); ++space) {
    if (space->over || space->faults.install_zeroes(0, 1).outcome != Installing::kGone) continue;
    space->missing = {};
    close(*space);
  }
  while (spaces_.size() > 1 && spaces_.back().over && waiting_.empty()) spaces_.pop_back();
}

MissingState PageServer::settle() {
  MissingState state;
  call([&] {
    read_all_messages();
    for (std::size_t number = 1; number < spaces_.size(); ++number) {
      if (!spaces_[number].over) complete(spaces_[number]);
    }
    state.moved_to = std::exchange(moved_to_, {});
    if (spaces_.empty()) return;
    spaces_.front().settled = spaces_.front().missing;
    state.pieces = spaces_.front().missing.all();
  });
  return state;
}

void PageServer::forget(const std::vector<store::PageRun>& runs) {
  call([&] {
    Space& program = spaces_.front();
    for (const store::PageRun& run : runs) {
      program.missing.remove(run.first_page, run.page_count);
      program.settled.remove(run.first_page, run.page_count);
    }
  });
}

std::vector<store::PageRun> PageServer::begin_eviction() {
  std::vector<store::PageRun> moved;
  call([&] {
    read_all_messages();
    evicting_ = true;
    moved = moved_to_;
  });
  return moved;
}

void PageServer::evict(const std::vector<MissingPiece>& pieces) {
  call([&] {
    MissingPages& missing = spaces_.front().missing;
    for (const MissingPiece& piece : pieces) {
      missing.remove(piece.page, piece.page_count);  // what came back during an eviction, or one that failed
      missing.add_joined(piece);
    }
  });
}

void PageServer::end_eviction(const std::vector<store::PageRun>& still_there) {
  call([&] {
    read_all_messages();
    evicting_ = false;
    for (const store::PageRun& run : still_there)
      spaces_.front().missing.remove(run.first_page, run.page_count);
  });
}

void PageServer::replace_version(std::shared_ptr<const store::CheckpointReader> reader) {
  call([&] {
    work_.reader = std::move(reader);
    for (Space& space : spaces_) {
      MissingPages now;
      for (const MissingPiece& piece : space.missing.all()) {
        for (const MissingPiece& then : space.settled.from_source(piece.source, piece.page_count)) {
          now.add_joined({.page = piece.page + (then.source - piece.source),
                          .source = then.page,
                          .page_count = then.page_count});
        }
      }
      if (now.page_count() != space.missing.page_count())
        throw Error("missing memory is not in the new version; this is an error in ckptrun");
      space.missing = std::move(now);
      space.settled = {};
    }
  });
}

// ---- what the program does -------------------------------------------------------------------------------

// False if there are none.
bool PageServer::read_messages() {
  bool any = false;
  for (std::size_t number = 0; number < spaces_.size(); ++number) {
    if (spaces_[number].over) continue;
    UserFaultMessages messages = spaces_[number].faults.read();
    for (UserFaultEvent& event : messages.events) apply(number, event);
    for (const UserFault& fault : messages.faults) waiting_.push_back({number, fault});
    any = any || !messages.events.empty() || !messages.faults.empty();
  }
  return any;
}

void PageServer::read_all_messages() {
  while (read_messages()) {
  }
}

void PageServer::apply(std::size_t number, UserFaultEvent& event) {
  switch (event.kind) {
    case UserFaultEvent::Kind::kRemoved:
      if (evicting_ && number == 0) return;
      return spaces_[number].missing.remove(event.page, event.page_count);
    case UserFaultEvent::Kind::kMoved:
      if (work_.stays && number == 0)
        moved_to_.push_back({.first_page = event.to, .page_count = event.page_count});
      return spaces_[number].missing.move(event.page, event.to, event.page_count);
    case UserFaultEvent::Kind::kForked:
      ++report_.forks;
      const Space& parent = spaces_[number];
      MissingPages missing = parent.missing;
      if (parent.pid != 0) forget_wiped(parent.pid, missing);
      spaces_.push_back({.id = parent.id,
                         .order = parent.order,
                         .faults = parent.faults.of_child(std::move(event.child)),
                         .missing = std::move(missing),
                         .settled = parent.settled});
  }
}

// The child reads zeroes where fork wipes memory, whatever is still to come there. Its flags are the
// parent's, which has only just left fork. (What a child sets for its own children is not known here.)
void PageServer::forget_wiped(pid_t parent, MissingPages& missing) const {
  try {
    for (const MapEntry& entry : MapFlagsTable::read(parent).with("wf"))
      missing.remove(entry.start / kPageSize, entry.size_bytes() / kPageSize);
  } catch (const Error&) {
    auto known = std::ranges::find(work_.processes, parent, &WatchedProcess::pid);
    if (!has_ended(known->pidfd.get(), kDeathMs)) throw;  // killed inside fork: the child never runs
  }
}

// ---- pages that are waited for ---------------------------------------------------------------------------

bool PageServer::serve_fault() {
  if (waiting_.empty()) return false;
  Fault fault = waiting_.front();
  waiting_.pop_front();
  Space& space = spaces_[fault.space];
  last_fault_ = Clock::now();
  if (space.over) return true;
  std::optional<MissingPiece> piece = space.missing.find(fault.fault.page);
  bool served =
      piece ? serve_stored(fault.space, fault.fault.page, *piece) : serve_zeroes(space, fault.fault);
  if (!served) waiting_.push_back(fault);  // once the program has changed what it is changing
  return true;
}

// Whatever has been installed may be discarded at once, by a call whose event has been read already: it stays
// missing.
bool PageServer::serve_while_evicting(Space& program, std::uint64_t page, const MissingPiece& piece) {
  std::uint64_t source = piece.source + (page - piece.page);
  std::span<std::byte> bytes = buffer_.pages(1);
  work_.reader->read(program.id, {.first_page = source, .page_count = 1}, bytes);
  Installed done = program.faults.install(page, bytes, page == source);
  if (done.outcome == Installing::kChanging) return false;
  if (done.outcome != Installing::kDone) program.faults.wake(page, 1);
  return true;
}

bool PageServer::serve_stored(std::size_t number, std::uint64_t page, const MissingPiece& piece) {
  Space& space = spaces_[number];
  if (evicting_ && number == 0) return serve_while_evicting(space, page, piece);
  bool in_order = page == space.fault_end;
  space.window = in_order ? std::min(space.window * 2, kLongestWindow) : kWindowPages;
  std::uint64_t first = in_order ? page : std::max(piece.page, page / kWindowPages * kWindowPages);
  std::uint64_t end = std::min(first + space.window, piece.page + piece.page_count);
  std::uint64_t source = piece.source + (first - piece.page);
  if (recording_ && number == 0) touched_.add(piece.source + (page - piece.page));
  if (comes_soon(number, piece.source + (page - piece.page))) {
    held_.push_back({.space = number, .fault = {.page = page, .write = false}});
    return true;
  }
  space.fault_end = end;
  space.long_windows = in_order && space.window == kLongestWindow ? space.long_windows + 1 : 0;
  if (space.long_windows >= kFollowedWindows && reads_) follow(space, source + (end - first));
  std::span<std::byte> bytes = buffer_.pages(end - first);
  work_.reader->read(space.id, {.first_page = source, .page_count = end - first}, bytes);
  if (!install(space, first, bytes, first == source)) return false;
  ++report_.faults;
  report_.pages_on_demand += end - first;
  return true;
}

// A program that goes through its memory in order waits for all of it: reading ahead goes on from there, and
// gives way no longer.
void PageServer::follow(Space& space, std::uint64_t source) {
  following_ = true;
  read_faster();
  const std::vector<store::PageRun>& order = *space.order;
  if (space.next_run < order.size()) {
    std::uint64_t next = order[space.next_run].first_page + space.run_done;
    if (next >= source && next - source <= kReadsAhead * kReadPages) return;  // it is there already
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    const store::PageRun& run = order[i];
    if (source < run.first_page || source >= run.first_page + run.page_count) continue;
    space.next_run = i;
    space.run_done = source - run.first_page;
    return;
  }
}

// Read in the background, at full speed: to read it once more would only take longer.
bool PageServer::comes_soon(std::size_t number, std::uint64_t source) const {
  return following_ && std::ranges::any_of(requested_, [&](const RequestedRun& requested) {
           return requested.space == number && source >= requested.run.first_page &&
                  source - requested.run.first_page < requested.run.page_count;
         });
}

// Memory that the version knows nothing about. A page that is written is made its own at once.
bool PageServer::serve_zeroes(Space& space, const UserFault& fault) {
  bool in_order = fault.page == space.zero_end;
  space.zero_window = in_order ? std::min(space.zero_window * 2, kLongestZeroes) : 1;
  std::uint64_t count = std::min(space.zero_window, space.missing.next(fault.page) - fault.page);
  for (;;) {
    Installed done = fault.write
                         ? space.faults.install(fault.page, std::span(zeroes_).first(count * kPageSize))
                         : space.faults.install_zeroes(fault.page, count);
    space.zero_end = fault.page + done.page_count;
    if (done.page_count > 0) return true;
    if (done.outcome == Installing::kChanging) return false;
    if (done.outcome == Installing::kNoRange && count > 1) {
      count = 1;
      continue;
    }
    if (done.outcome == Installing::kGone) space.missing = {};
    if (done.outcome != Installing::kDone) space.faults.wake(fault.page, 1);
    return true;
  }
}

// Nothing can be put there: the page exists, or its mapping has gone and we shall hear of it.
void PageServer::skip(Space& space, std::uint64_t page) {
  space.missing.remove(page, 1);
  space.faults.wake(page, 1);
}

// False if the program is changing its memory: then part of it may not have been installed.
// `unwritten`: the version has the same there.
bool PageServer::install(Space& space, std::uint64_t page, std::span<const std::byte> bytes, bool unwritten) {
  std::uint64_t most = bytes.size() / kPageSize;
  while (!bytes.empty()) {
    std::uint64_t count = std::min<std::uint64_t>(most, bytes.size() / kPageSize);
    Installed done = space.faults.install(page, bytes.first(count * kPageSize), unwritten);
    space.missing.remove(page, done.page_count);
    page += done.page_count;
    bytes = bytes.subspan(done.page_count * kPageSize);
    if (done.outcome == Installing::kChanging && done.page_count == 0) return false;
    if (done.outcome == Installing::kGone) {
      space.missing = {};
      return true;
    }
    bool refused = done.outcome == Installing::kNoRange && count == 1;
    if (done.outcome == Installing::kPresent || refused) {
      skip(space, page);
      ++page;
      bytes = bytes.subspan(kPageSize);
    } else if (done.outcome == Installing::kNoRange) {
      most = count / 2;  // the mapping was split meanwhile: pieces that reach beyond one are refused
    }
  }
  return true;
}

// ---- everything else -------------------------------------------------------------------------------------

bool PageServer::install_slice() {
  if (!reads_) return false;
  if (!current_) {
    current_ = reads_->take();
    if (!current_) return false;
    if (current_->failure) std::rethrow_exception(current_->failure);
    current_run_ = 0;
    current_done_ = current_offset_ = 0;
  }
  Space& space = spaces_[current_->receiver];
  const store::PageRun& run = current_->runs[current_run_];
  std::uint64_t first = run.first_page + current_done_;
  std::uint64_t count = std::min(kSlicePages, run.page_count - current_done_);
  for (const MissingPiece& piece : space.missing.from_source(first, count)) {
    std::span<const std::byte> bytes =
        current_->bytes.pages(current_->page_count)
            .subspan(current_offset_ + (piece.source - first) * kPageSize, piece.page_count * kPageSize);
    if (!install(space, piece.page, bytes)) return true;
    (current_->urgent ? report_.pages_prefetched : report_.pages_in_background) += piece.page_count;
  }
  current_done_ += count;
  current_offset_ += count * kPageSize;
  if (current_done_ < run.page_count) return true;
  current_done_ = 0;
  if (++current_run_ < current_->runs.size()) return true;
  end_current();
  return true;
}

// Whoever has waited for it has what it waited for, or asks again.
void PageServer::end_current() {
  std::erase_if(requested_, [this](const RequestedRun& requested) {
    return requested.space == current_->receiver &&
           std::ranges::count(current_->runs, requested.run.first_page, &store::PageRun::first_page) != 0;
  });
  std::ranges::move(held_, std::back_inserter(waiting_));
  held_.clear();
  reads_->recycle(std::move(current_->bytes));
  current_.reset();
}

void PageServer::read_faster() {
  if (reads_ && !std::exchange(reads_fast_, true)) reads_->hurry();
}

void PageServer::request_reads() {
  if (!reads_) return;
  while (reads_->outstanding() < kReadsAhead) {
    std::optional<BackgroundRead> read = next_touched_read();
    for (std::size_t i = 0; !read && i < spaces_.size(); ++i) read = next_read(i);
    if (!read) break;
    for (const store::PageRun& run : read->runs) requested_.push_back({.space = read->receiver, .run = run});
    reads_->request(std::move(*read));
  }
  // All has been asked for and yet something is missing: what was asked for came while the program changed.
  if (reads_->outstanding() > 0 || current_) return;
  for (Space& space : spaces_) space.next_run = space.run_done = 0;
}

std::optional<BackgroundRead> PageServer::next_touched_read() {
  BackgroundRead read;
  read.space = spaces_[0].id;
  read.urgent = true;
  while (next_touched_ < prefetch_count_ && read.page_count < kReadPages) {
    std::uint64_t first = touched_.in_order()[next_touched_++] * kTouchedPartPages;
    for (const MissingPiece& piece : spaces_[0].missing.from_source(first, kTouchedPartPages)) {
      read.runs.push_back({.first_page = piece.source, .page_count = piece.page_count});
      read.page_count += piece.page_count;
    }
  }
  if (read.runs.empty()) return std::nullopt;
  return read;
}

std::optional<BackgroundRead> PageServer::next_read(std::size_t number) {
  Space& space = spaces_[number];
  if (space.over) return std::nullopt;
  BackgroundRead read;
  read.receiver = number;
  read.space = space.id;
  while (space.next_run < space.order->size() && read.page_count < kReadPages) {
    const store::PageRun& run = (*space.order)[space.next_run];
    std::uint64_t count = std::min(run.page_count - space.run_done, kReadPages - read.page_count);
    for (const MissingPiece& piece : space.missing.from_source(run.first_page + space.run_done, count)) {
      read.runs.push_back({.first_page = piece.source, .page_count = piece.page_count});
      read.page_count += piece.page_count;
    }
    space.run_done += count;
    if (space.run_done < run.page_count) continue;
    space.run_done = 0;
    ++space.next_run;
  }
  if (read.runs.empty()) return std::nullopt;
  return read;
}

void PageServer::wait() {
  std::vector<pollfd> polled{{.fd = control_fd_.get(), .events = POLLIN, .revents = 0},
                             {.fd = reads_ ? reads_->fd() : -1, .events = POLLIN, .revents = 0}};
  for (const Space& space : spaces_) {
    if (!space.over) polled.push_back({.fd = space.faults.fd(), .events = POLLIN, .revents = 0});
  }
  while (Clock::now() - last_fault_ < kSpin) {
    if (::poll(polled.data(), polled.size(), 0) != 0) return;
  }
  if (!waiting_.empty()) return;
  ::poll(polled.data(), polled.size(), 1000);
  std::uint64_t count = 0;
  [[maybe_unused]] ssize_t got = ::read(control_fd_.get(), &count, sizeof count);
}

void PageServer::finish_recording() {
  if (!std::exchange(recording_, false)) return;
  if (touched_.in_order().size() == prefetch_count_) return;
  save_touched(work_.directory, work_.reader->description().version, touched_);
}

}  // namespace ckpt::engine
