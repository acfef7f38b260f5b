#include "engine/capture/capture_run.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/error.h"
#include "engine/capture/embedded_files.h"
#include "engine/capture/pinned_writers.h"
#include "engine/capture/processor.h"
#include "engine/image/image_file.h"
#include "engine/process/other_namespaces.h"
#include "engine/resource/descriptors.h"

namespace ckpt::engine {
namespace {

constexpr int kMostRounds = 6;
constexpr int kMostRegistrations = 3;
constexpr int kMostStaleSurveys = 2;
constexpr int kUnnoticedPart = 5;  // of the budget: what takes longer to copy is copied before the pause
constexpr double kWorthwhileShrinkage =
    0.7;  // a round that leaves more than this of the one before is the last
constexpr std::size_t kSpareBytes = 4 << 20;

std::uint64_t microseconds(std::chrono::nanoseconds duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

// Whatever it meets is a consequence of the failure.
void release_after_failure(StoppedFamily& family) noexcept {
  try {
    family.resume();
  } catch (const Error&) {
    return;
  }
}

}  // namespace

CaptureRun::CaptureRun(Session::State& session, store::CheckpointWriter& writer, CaptureOptions options)
    : session_(session), writer_(writer), options_(std::move(options)) {
  instruction_sets_here();  // for the first time rather not in the pause
  session_.meet(list_family(session_.roots));
  meet_processes();
  bool lacks = std::ranges::any_of(parts_, [](const auto& part) { return part->lacks_tracker(); });
  step_ = lacks ? Step::kTrack : Step::kSurvey;
}

CaptureRun::~CaptureRun() {
  session_.buffer.clear();
  if (!has_snapshot()) return;
  try {
    reap();
  } catch (const Error&) {
    return;  // the program has ended, and its children with it
  }
}

// One part for each process that there is now, in the same order.
void CaptureRun::meet_processes() {
  std::vector<std::unique_ptr<ProcessCapture>> known = std::move(parts_);
  parts_.clear();
  for (const auto& process : session_.processes) {
    auto old = std::ranges::find_if(
        known, [&](const auto& part) { return part != nullptr && &part->process() == process.get(); });
    parts_.push_back(old != known.end() ? std::move(*old)
                                        : std::make_unique<ProcessCapture>(process, options_));
  }
}

ProcessCapture& CaptureRun::part_of(const std::shared_ptr<ProcessState>& process) {
  return **std::ranges::find_if(parts_, [&](const auto& part) { return &part->process() == process.get(); });
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

void CaptureRun::run() try { take_step(); } catch (const Error& error) {
  if (!is_ending(session_.pid()) && comes_of_change(error)) throw ProcessesChanged(error);
  throw;
}

// Whatever else it looks like, it may come of the end of a relative. A process that executes another program
// lives on, but its memory is gone, and who had that open is told the same as of a process that is gone.
bool CaptureRun::comes_of_change(const Error& error) const {
  auto ended = [](const auto& process) { return is_ending(process->pid); };
  return error.code() == ESRCH || std::ranges::any_of(session_.processes, ended);
}

void CaptureRun::take_step() {
  switch (step_) {
    case Step::kTrack:
      return track();
    case Step::kSurvey:
      return survey();
    case Step::kBarrier:
      with_all_stopped([](StoppedProcess&) {});
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

template <typename Action>
void CaptureRun::with_all_stopped(const Action& action) {
  auto started = Clock::now();
  bool held = session_.held.has_value();
  StoppedFamily family = session_.take_stopped(false);
  meet_processes();
  for (StoppedProcess& process : family.processes) action(process);
  if (held) {
    session_.held = std::move(family);
    return;
  }
  family.resume();
  count_stop(Clock::now() - started);
}

// While they run, any but the program may end, and each may execute another program: what was not looked at
// is read in the pause.
template <typename Action>
void CaptureRun::for_each_running(const Action& action) {
  for (auto& part : parts_) {
    try {
      action(*part);
    } catch (const Error& error) {
      pid_t pid = part->process().pid;
      if (!is_end_of(pid, error) || (part == parts_.front() && is_ending(pid))) throw;
    }
  }
}

// What the user is told is the longest time that the program stood still.
void CaptureRun::count_stop(Clock::duration duration) {
  result_.stats.frozen_time_us = std::max(result_.stats.frozen_time_us, microseconds(duration));
}

void CaptureRun::track() {
  ++registrations_;
  with_all_stopped([this](StoppedProcess& process) {
    bool limited = process.state == session_.processes.front();
    part_of(process.state).track(*process.tracee, limited ? session_.paging.get() : nullptr);
  });
  step_ = Step::kSurvey;
}

void CaptureRun::survey() {
  PendingPages pending;
  for_each_running([&](ProcessCapture& part) {
    refuse_other_namespaces(part.process().pid, session_.roots);
    pending.add(part.survey());
  });
  step_ = choose(pending);
  if (step_ == Step::kStop) session_.buffer.warm(pending.bytes + pending.bytes / 4 + kSpareBytes);
  if (step_ != Step::kBarrier) return;
  bool pinned = std::ranges::any_of(
      parts_, [](const auto& part) { return part->tracks() && has_pinned_writers(part->process().pid); });
  if (pinned)
    throw Error("the program began to use an io_uring or AIO while the checkpoint was made; make another");
  for_each_running([&](ProcessCapture& part) { part.arm_written(); });
  ++rounds_;
}

CaptureRun::Step CaptureRun::choose(const PendingPages& pending) {
  if (options_.after == AfterCapture::kHold) return Step::kStop;  // it is not going to run on anyway
  std::uint64_t before = std::exchange(last_pending_bytes_, pending.bytes);
  bool may_precopy = options_.mode == CopyMode::kAuto || options_.mode == CopyMode::kPrecopy;
  bool must_fork = options_.mode == CopyMode::kFork;
  snapshots_ = Snapshots::kNone;
  std::uint64_t fits = std::min<std::uint64_t>(PageBuffer::kCapacity - kSpareBytes,
                                               session_.pause.bytes_within(options_.pause_budget));
  if (options_.mode == CopyMode::kPrecopy && rounds_ == 0 && tracks()) return Step::kBarrier;
  bool may_shrink = may_precopy && tracks() && rounds_ == 0 &&
                    session_.pause.copy_time(pending.bytes) > options_.pause_budget / kUnnoticedPart;
  if (pending.bytes <= fits && !must_fork && !may_shrink) return Step::kStop;
  if (may_precopy && tracks()) {
    if (pending.unregistered_bytes > fits / 2 && registrations_ < kMostRegistrations) return Step::kTrack;
    bool converges = rounds_ == 0 ||
                     static_cast<double>(pending.bytes) < kWorthwhileShrinkage * static_cast<double>(before);
    if (converges && rounds_ < kMostRounds) return Step::kBarrier;
  }
  if (must_fork) snapshots_ = Snapshots::kAll;
  if (options_.mode == CopyMode::kAuto) snapshots_ = Snapshots::kWherePaid;
  return Step::kStop;
}

// To share much memory with a snapshot may take longer than to copy what is left.
bool CaptureRun::wants_snapshot(const ProcessCapture& part) const {
  if (session_.paging) return false;  // which would need as much memory again
  if (snapshots_ != Snapshots::kWherePaid) return snapshots_ == Snapshots::kAll;
  return session_.pause.snapshot_time(part.pending().forked_bytes) <
         session_.pause.copy_time(part.pending().bytes);
}

bool CaptureRun::has_snapshot() const {
  return std::ranges::any_of(parts_, [](const auto& part) { return part->has_snapshot(); });
}

void CaptureRun::precopy() {
  auto began = Clock::now();
  for_each_running([&](ProcessCapture& part) { part.precopy(writer_, pages_in_common(session_)); });
  result_.stats.memwrite_time_us += microseconds(Clock::now() - began);
  step_ = Step::kSurvey;
}

// Mappings came or went since their flags were read, and to read those again takes long: rather once more
// while the program runs.
bool CaptureRun::is_stale(const StoppedFamily& family) {
  std::atomic<bool> stale = false;
  session_.threads.run(family.processes.size(), [&](std::size_t i) {
    if (part_of(family.processes[i].state).look_at_maps()) stale = true;
  });
  return stale && options_.after == AfterCapture::kResume && stale_surveys_++ < kMostStaleSurveys;
}

void CaptureRun::stop() {
  auto started = Clock::now();
  clock_ = StageClock();
  StoppedFamily family = session_.take_stopped(look_for_relatives_, true);
  result_.stats.freezing_time_us = microseconds(Clock::now() - started);
  meet_processes();
  clock_.done("stop");
  // Before mappings are looked at: those of children may become one where all memory is there.
  if (session_.paging) parts_.front()->know_missing(*session_.paging);
  if (is_stale(family)) return survey_again(family);
  std::vector<resource::SilencedConnection> silenced;
  try {
    if (options_.before_reading) options_.before_reading();
    read_stopped(family, options_.keep_connections ? &silenced : nullptr);
  } catch (const FamilyGrew&) {
    silenced.clear();  // before the program runs
    if (std::exchange(look_for_relatives_, true)) throw;
    return survey_again(family);
  } catch (...) {
    silenced.clear();
    release_after_failure(family);
    throw;
  }
  finish_stop(std::move(family), std::move(silenced), started);
}

void CaptureRun::survey_again(StoppedFamily& family) {
  family.resume();
  step_ = Step::kSurvey;
}

void CaptureRun::finish_stop(StoppedFamily family, std::vector<resource::SilencedConnection> silenced,
                             Clock::time_point started) {
  if (options_.after == AfterCapture::kHold) {
    session_.held = std::move(family);
    session_.silenced = std::move(silenced);
  } else {
    silenced.clear();  // before the program runs
    family.resume();
    clock_.done("release");
  }
  step_ = Step::kStore;
  auto released = Clock::now();
  count_stop(released - started);
  result_.stats.stages = clock_.take();
  std::chrono::microseconds copying(result_.stats.memdump_time_us);
  if (has_snapshot()) {
    session_.pause.learn_snapshot(forking_, forked_bytes_);
  } else {
    session_.pause.learn(released - started, copying, copied_bytes_);
  }
}

void CaptureRun::read_stopped(StoppedFamily& family, std::vector<resource::SilencedConnection>* silenced) {
  std::vector<ProcessContext> contexts;
  stopped_parts_.clear();
  for (StoppedProcess& process : family.processes) {
    stopped_parts_.push_back(&part_of(process.state));
    contexts.push_back(stopped_parts_.back()->context(*process.tracee));
  }
  state_ = capture_stopped({.processes = contexts,
                            .relatives = family.relatives,
                            .identities = session_.identities,
                            .writer = writer_,
                            .clock = clock_,
                            .threads = session_.threads,
                            .files = options_.files,
                            .cpu_baseline = options_.cpu_baseline,
                            .silenced = silenced});
  std::vector<image::ProcessT*> processes = state_->running_processes();
  for (std::size_t i = 0; i < processes.size(); ++i) stopped_parts_[i]->describe_agent(*processes[i]);
  clock_.done("intent");
  result_.kept = session_.processes.front()->kept.versions;
  auto began = Clock::now();
  take_pages(family);
  clock_.done(has_snapshot() ? "snapshot" : "copy");
  result_.stats.memdump_time_us = microseconds(Clock::now() - began);
  if (options_.while_stopped) options_.while_stopped(session_.pid());
}

void CaptureRun::take_pages(StoppedFamily& family) {
  copied_bytes_ = 0;
  forked_bytes_ = 0;
  forking_ = {};
  std::vector<image::ProcessT*> processes = state_->running_processes();
  for (std::size_t i = 0; i < family.processes.size(); ++i) {
    ProcessCapture& part = *stopped_parts_[i];
    auto began = Clock::now();
    copied_bytes_ += part.take_pages(*family.processes[i].tracee, std::move(state_->memories[i]),
                                     wants_snapshot(part), session_, writer_, *processes[i]);
    if (!part.has_snapshot()) continue;
    forked_bytes_ += part.pending().forked_bytes;
    forking_ += Clock::now() - began;
  }
}

void CaptureRun::store() {
  auto began = Clock::now();
  session_.buffer.flush(writer_);
  image::CheckpointT& checkpoint = state_->checkpoint;
  std::vector<image::ProcessT*> processes = state_->running_processes();
  for (std::size_t i = 0; i < processes.size(); ++i) {
    ProcessCapture& part = *stopped_parts_[i];
    part.store(writer_, *processes[i]);
    result_.stats.pages_scanned += part.memory().pages_scanned;
    result_.stats.resident_bytes += part.memory().resident_bytes;
    result_.thread_count += static_cast<std::uint32_t>(processes[i]->threads.size());
  }
  store_embedded_files(writer_, *checkpoint.process, state_->notes);
  result_.image = pack_image(checkpoint);
  result_.process_count = static_cast<std::uint32_t>(processes.size());
  result_.program_pid = checkpoint.process->pid;
  result_.holdings = outside_holdings(checkpoint);
  result_.notes = std::move(state_->notes);
  result_.files_to_sync = std::move(state_->files_to_sync);
  result_.stats.mode = has_snapshot() ? "fork" : rounds_ > 0 ? "precopy" : "copy";
  result_.stats.memwrite_time_us += microseconds(Clock::now() - began);
  step_ = has_snapshot() ? Step::kReap : Step::kDone;
}

// Everything is in the store's hands: should the program have ended meanwhile, the version is complete all
// the same.
void CaptureRun::reap() {
  for (auto& part : parts_) part->end_snapshot();
  try {
    with_all_stopped(
        [this](StoppedProcess& process) { part_of(process.state).reap_snapshot(*process.tracee); });
  } catch (const Error& error) {
    if (error.code() != ESRCH) throw;
  }
  for (auto& part : parts_) part->forget_snapshot();
}

CaptureResult CaptureRun::take_result() { return std::move(result_); }

}  // namespace ckpt::engine
