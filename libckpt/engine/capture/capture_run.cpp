#include "engine/capture/capture_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/agent_tables.h"
#include "engine/capture/pinned_writers.h"
#include "engine/capture/program_intent.h"
#include "engine/image/image_file.h"

namespace ckpt::engine {
namespace {

constexpr int kMostRounds = 6;
constexpr int kMostRegistrations = 3;
constexpr int kMostStaleSurveys = 2;
constexpr double kWorthwhileShrinkage =
    0.7;  // a round that leaves more than this of the one before is the last
constexpr std::size_t kSpareBytes = 4 << 20;

std::uint64_t microseconds(std::chrono::nanoseconds duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

// What fork has not left out. The program may have asked for that since its flags were read.
AddressRanges mapped_ranges(pid_t pid) {
  AddressRanges ranges;
  for (const MapEntry& entry : read_memory_map(pid)) append(ranges, {entry.start, entry.end});
  return ranges;
}

// Likewise for memory that fork wipes, but that takes long to find out, so it is done after the pause.
void refuse_wiped(pid_t snapshot, const PageTasks& tasks) {
  AddressRanges wiped;
  for (const MapEntry& entry : MapFlagsTable::read(snapshot).with("wf"))
    append(wiped, {entry.start, entry.end});
  for (const PageTask& task : tasks) {
    if (slice(wiped, task.range).empty()) continue;
    throw Error(
        fmt::format("memory at {:#x} became MADV_WIPEONFORK while the checkpoint was made; make another",
                    task.range.start));
  }
}

}  // namespace

CaptureRun::CaptureRun(Session::State& session, store::CheckpointWriter& writer, CaptureOptions options)
    : session_(session), writer_(writer), options_(std::move(options)), excluded_before_(session.excluded) {
  bool wants_tracker =
      options_.tracking == Tracking::kKernel && session_.can_track && !has_pinned_writers(session_.pid);
  bool has_tracker = wants_tracker && session_.tracker != nullptr && session_.tracker->alive();
  if (!has_tracker) session_.tracker.reset();
  step_ = wants_tracker && !has_tracker ? Step::kTrack : Step::kSurvey;
  if (tracks() && options_.parent != 0 && session_.tracker->base() == options_.parent) {
    needs_.all = false;
    needs_.must = session_.tracker->owed();
  }
}

CaptureRun::~CaptureRun() {
  session_.buffer.clear();
  if (snapshot_ == nullptr) return;
  try {
    reap();
  } catch (const Error&) {
    return;  // the program has ended, and its children with it
  }
}

Capture::Next CaptureRun::next() const {
  switch (step_) {
    case Step::kDone:
      return Next::kDone;
    case Step::kSurvey:
    case Step::kPrecopy:
    case Step::kStore:
      return Next::kBackground;
    default:
      return Next::kForeground;
  }
}

void CaptureRun::run() {
  switch (step_) {
    case Step::kTrack:
      return track();
    case Step::kSurvey:
      return survey();
    case Step::kBarrier:
      with_program_stopped([](Tracee&) {});
      step_ = Step::kPrecopy;
      return;
    case Step::kPrecopy:
      return precopy();
    case Step::kStop:
      return stop();
    case Step::kStore:
      return store();
    case Step::kReap:
      reap();
      step_ = Step::kDone;
      return;
    case Step::kDone:
      return;
  }
}

void CaptureRun::with_program_stopped(const std::function<void(Tracee&)>& action) {
  session_.calls.observe_before_stop(session_.pid);
  auto started = Clock::now();
  Tracee tracee(session_.pid);
  session_.calls.fix_up(tracee);
  auto stopped = Clock::now();
  action(tracee);
  session_.resume(tracee, stopped);
  count_stop(Clock::now() - started);
}

// What the user is told is the longest time that the program stood still.
void CaptureRun::count_stop(Clock::duration duration) {
  result_.stats.frozen_time_us = std::max(result_.stats.frozen_time_us, microseconds(duration));
}

void CaptureRun::track() {
  ++registrations_;
  with_program_stopped([this](Tracee& tracee) {
    if (session_.tracker == nullptr) session_.tracker = WriteTracker::create(tracee);
    if (session_.tracker == nullptr) return;
    for (const MapEntry& entry : read_memory_map(session_.pid)) {
      if (is_private_memory(entry)) session_.tracker->register_mapping({entry.start, entry.end});
    }
  });
  session_.can_track = session_.tracker != nullptr;
  step_ = Step::kSurvey;
}

// Memory that was excluded when the version before was made, and no longer is, was never written to the
// store.
void CaptureRun::learn_excluded(const std::vector<MapEntry>& maps) {
  needs_.excluded = AgentTables(session_.pid, session_.agent_addresses, maps).excluded(excluded_before_);
  if (!excluded_before_.empty())
    needs_.must = unite(needs_.must, subtract(excluded_before_, needs_.excluded));
}

// Registered private memory that the version lacks; it is unwritten from now on, and owed. Memory that is not
// registered is left to the stop.
PageTasks CaptureRun::arm_written() {
  PageTasks tasks;
  PageScanner scanner(session_.pid);
  AddressRanges newly_owed;
  std::vector<MapEntry> maps = read_memory_map(session_.pid);
  learn_excluded(maps);
  for (const MapEntry& entry : maps) {
    std::optional<PageFilter> filter = private_content_filter(entry);
    if (!filter) continue;
    AddressRange mapping{entry.start, entry.end};
    ScannedPages pages = scanner.arm_running(mapping, *filter);
    for (const AddressRange& range : pages.written) append(newly_owed, range);
    needs_.leave_out_excluded(pages, mapping);
    add_private_tasks(entry, needs_.of(pages, mapping), true, tasks);
  }
  session_.tracker->owe(newly_owed);
  return tasks;
}

CaptureRun::Pending CaptureRun::count_pending() {
  Pending pending;
  known_content_.clear();
  PageScanner scanner(session_.pid);
  std::vector<MapEntry> maps = read_memory_map(session_.pid);
  learn_excluded(maps);
  for (const MapEntry& entry : maps) {
    std::optional<PageFilter> filter = private_content_filter(entry);
    if (!filter) continue;
    AddressRange mapping{entry.start, entry.end};
    std::optional<ScannedPages> pages;
    if (tracks()) pages = scanner.scan_tracked(mapping, *filter, Arm::kNo);
    bool registered = pages.has_value();
    if (!registered) {
      pages = scanner.scan_all(mapping, *filter);
      pages->written = pages->content;
    }
    if (registered && entry.inode == 0) {
      for (const AddressRange& range : pages->content) append(known_content_, range);
    }
    needs_.leave_out_excluded(*pages, mapping);
    std::uint64_t bytes = total_bytes(needs_.of(*pages, mapping));
    pending.bytes += bytes;
    if (bytes > 0) pending.forked_bytes += total_bytes(pages->content);
    if (!registered) pending.unregistered_bytes += bytes;
  }
  return pending;
}

void CaptureRun::survey() {
  flags_ = MapFlagsTable::read(session_.pid);
  Pending pending = count_pending();
  step_ = choose(pending);
  if (step_ == Step::kStop) session_.buffer.warm(pending.bytes + pending.bytes / 4 + kSpareBytes);
  if (step_ != Step::kBarrier) return;
  precopy_tasks_ = arm_written();
  ++rounds_;
}

CaptureRun::Step CaptureRun::choose(const Pending& pending) {
  if (options_.after == AfterCapture::kHold) return Step::kStop;  // it is not going to run on anyway
  std::uint64_t before = std::exchange(last_pending_bytes_, pending.bytes);
  bool may_precopy = options_.mode == CopyMode::kAuto || options_.mode == CopyMode::kPrecopy;
  bool may_fork = options_.mode == CopyMode::kAuto || options_.mode == CopyMode::kFork;
  std::uint64_t fits = std::min<std::uint64_t>(PageBuffer::kCapacity - kSpareBytes,
                                               session_.pause.bytes_within(options_.pause_budget));
  if (options_.mode == CopyMode::kPrecopy && rounds_ == 0 && tracks()) return Step::kBarrier;
  if (pending.bytes <= fits && options_.mode != CopyMode::kFork) return Step::kStop;
  if (may_precopy && tracks()) {
    if (pending.unregistered_bytes > fits / 2 && registrations_ < kMostRegistrations) return Step::kTrack;
    bool converges = rounds_ == 0 ||
                     static_cast<double>(pending.bytes) < kWorthwhileShrinkage * static_cast<double>(before);
    if (converges && rounds_ < kMostRounds) return Step::kBarrier;
  }
  // To share much memory with a snapshot may take longer than to copy what is left.
  forked_bytes_ = pending.forked_bytes;
  want_snapshot_ =
      options_.mode == CopyMode::kFork || (may_fork && session_.pause.snapshot_time(pending.forked_bytes) <
                                                           session_.pause.copy_time(pending.bytes));
  return Step::kStop;
}

void CaptureRun::precopy() {
  auto began = Clock::now();
  MemoryReader reader(session_.pid);
  store_pages(precopy_tasks_, reader, writer_, Unreadable::kSkip);
  precopy_tasks_.clear();
  needs_.all = false;
  needs_.must.clear();
  excluded_before_ = needs_.excluded;
  result_.stats.memwrite_time_us += microseconds(Clock::now() - began);
  step_ = Step::kSurvey;
}

void CaptureRun::stop() {
  session_.calls.observe_before_stop(session_.pid);
  auto started = Clock::now();
  clock_ = StageClock();
  auto tracee = std::make_unique<Tracee>(session_.pid);
  clock_.done("stop");
  session_.calls.fix_up(*tracee);
  clock_.done("calls");
  auto stopped = Clock::now();
  // Mappings came or went since their flags were read, and to read those again takes long: rather once more
  // while the program runs.
  std::vector<MapEntry> maps = read_memory_map(session_.pid);
  bool stale = !flags_.covers(maps);
  bool again = stale && options_.after == AfterCapture::kResume && stale_surveys_++ < kMostStaleSurveys;
  if (!again) {
    if (options_.before_reading) options_.before_reading();
    learn_excluded(maps);
    read_stopped(*tracee, maps);
    session_.excluded_in_last = needs_.excluded;
  }
  if (!again && options_.after == AfterCapture::kHold) {
    session_.held = std::move(tracee);
    session_.held_since = stopped;
  } else {
    session_.resume(*tracee, stopped);
    clock_.done("release");
  }
  step_ = again ? Step::kSurvey : Step::kStore;
  if (again) return;
  auto released = Clock::now();
  result_.stats.freezing_time_us = microseconds(stopped - started);
  count_stop(released - started);
  result_.stats.stages = clock_.take();
  std::chrono::microseconds copying(result_.stats.memdump_time_us);
  if (snapshot_ != nullptr) {
    session_.pause.learn_snapshot(copying, forked_bytes_);
  } else {
    session_.pause.learn(released - started, copying, copied_bytes_);
  }
}

void CaptureRun::read_stopped(Tracee& tracee, const std::vector<MapEntry>& maps) {
  state_ = capture_stopped(tracee, {.calls = session_.calls,
                                    .maps = maps,
                                    .flags = flags_,
                                    .identities = session_.identities,
                                    .writer = writer_,
                                    .tracker = tracks() ? session_.tracker.get() : nullptr,
                                    .needs = needs_,
                                    .clock = clock_,
                                    .threads = session_.threads,
                                    .known_content = known_content_,
                                    .with_files = options_.with_files});
  AgentTables agent(session_.pid, session_.agent_addresses, maps);
  state_->checkpoint.process->agent_tables = agent.saved();
  describe_intent(agent, maps, *state_->checkpoint.process);
  clock_.done("intent");
  auto began = Clock::now();
  copy_or_snapshot(tracee);
  clock_.done(snapshot_ != nullptr ? "snapshot" : "copy");
  result_.stats.memdump_time_us = microseconds(Clock::now() - began);
  if (options_.while_stopped) options_.while_stopped(session_.pid);
}

void CaptureRun::copy_or_snapshot(Tracee& tracee) {
  PageTasks& tasks = state_->memory.tasks;
  if (want_snapshot_) snapshot_ = Snapshot::take(tracee, state_->memory.quiet);
  if (snapshot_ != nullptr) {
    AddressRanges there = mapped_ranges(snapshot_->pid());
    auto first = std::stable_partition(tasks.begin(), tasks.end(), [&there](const PageTask& task) {
      return !task.in_snapshot || slice(there, task.range) != AddressRanges{task.range};
    });
    snapshot_tasks_.assign(first, tasks.end());
    tasks.erase(first, tasks.end());
  }
  copied_bytes_ = total_bytes(tasks);
  MemoryReader reader(session_.pid);
  late_guards_ = copy_pages(tasks, reader, session_.buffer, writer_, session_.threads);
}

void CaptureRun::store() {
  auto began = Clock::now();
  session_.buffer.flush(writer_);
  if (snapshot_ != nullptr) {
    refuse_wiped(snapshot_->pid(), snapshot_tasks_);
    MemoryReader reader(snapshot_->pid());
    AddressRanges guards = store_pages(snapshot_tasks_, reader, writer_, Unreadable::kError);
    late_guards_.insert(late_guards_.end(), guards.begin(), guards.end());
  }
  if (!late_guards_.empty()) describe_late_guards();
  writer_.keep_only(kProcessSpace, state_->memory.present);

  image::CheckpointT& checkpoint = state_->checkpoint;
  result_.image = pack_image(checkpoint);
  result_.thread_count = static_cast<std::uint32_t>(checkpoint.process->threads.size());
  result_.program_pid = checkpoint.process->pid;
  result_.notes = std::move(state_->notes);
  result_.files_to_sync = std::move(state_->files_to_sync);
  result_.stats.mode = snapshot_ != nullptr ? "fork" : rounds_ > 0 ? "precopy" : "copy";
  result_.stats.pages_scanned = state_->memory.pages_scanned;
  result_.stats.resident_bytes = state_->memory.resident_bytes;
  result_.stats.memwrite_time_us += microseconds(Clock::now() - began);
  step_ = snapshot_ != nullptr ? Step::kReap : Step::kDone;
}

// The scan in the pause takes for content what had some a moment before; only reading it tells.
void CaptureRun::describe_late_guards() {
  normalize(late_guards_);
  for (auto& mapping : state_->checkpoint.process->mappings) {
    AddressRanges late = slice(late_guards_, {mapping->start, mapping->end});
    if (late.empty()) continue;
    for (const AddressRange& guard : late) mapping->guards.emplace_back(guard.start, guard.end);
    std::ranges::sort(mapping->guards, {}, &image::GuardRegion::start);
  }
  AddressRanges present;
  for (const store::PageRun& run : state_->memory.present)
    append(present, {run.first_page * kPageSize, (run.first_page + run.page_count) * kPageSize});
  state_->memory.present.clear();
  for (const AddressRange& range : subtract(present, late_guards_))
    state_->memory.present.push_back({range.start / kPageSize, range.size_bytes() / kPageSize});
}

// Everything is in the store's hands: should the program have ended meanwhile, the version is complete all
// the same.
void CaptureRun::reap() {
  std::unique_ptr<Snapshot> snapshot = std::move(snapshot_);
  snapshot->end();
  try {
    with_program_stopped([&](Tracee& tracee) { snapshot->reap(tracee); });
  } catch (const Error& error) {
    if (error.code() != ESRCH) throw;
  }
}

CaptureResult CaptureRun::take_result() { return std::move(result_); }

}  // namespace ckpt::engine
