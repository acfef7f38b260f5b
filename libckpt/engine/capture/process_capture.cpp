#include "engine/capture/process_capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "engine/agent_tables.h"
#include "engine/capture/pinned_writers.h"
#include "engine/capture/program_intent.h"

namespace ckpt::engine {
namespace {

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

PagesInCommon pages_in_common(const Session::State& session) {
  return session.processes.size() > 1 ? PagesInCommon::kPossible : PagesInCommon::kNone;
}

void PendingPages::add(const PendingPages& more) {
  bytes += more.bytes;
  unregistered_bytes += more.unregistered_bytes;
  forked_bytes += more.forked_bytes;
}

ProcessCapture::ProcessCapture(std::shared_ptr<ProcessState> process, const CaptureOptions& options)
    : process_(std::move(process)),
      tracking_(options.tracking),
      excluded_before_(process_->excluded),
      parent_(options.parent) {
  wants_tracker_ =
      tracking_ == Tracking::kKernel && process_->can_track && !has_pinned_writers(process_->pid);
  bool has_tracker = wants_tracker_ && process_->tracker != nullptr && process_->tracker->alive();
  if (!has_tracker) process_->tracker.reset();
  if (tracks() && options.parent != 0 && process_->tracker->base() == options.parent) {
    needs_.all = false;
    needs_.must = process_->tracker->owed();
    needs_.carried = process_->carried;
  }
}

void ProcessCapture::track(Tracee& tracee, Paging* paging) {
  if (!wants_tracker_) return;
  if (process_->tracker == nullptr)
    process_->tracker = paging != nullptr ? paging->watch(tracee) : WriteTracker::create(tracee);
  process_->can_track = process_->tracker != nullptr;
  if (!process_->can_track) return;
  for (const MapEntry& entry : read_memory_map(process_->pid)) {
    if (is_private_memory(entry)) process_->tracker->register_mapping({entry.start, entry.end});
  }
}

// Memory that was excluded when the version before was made, and no longer is, was never written to the
// store.
void ProcessCapture::learn_excluded() {
  agent_ = AgentTables(process_->pid, process_->agent_addresses, maps_);
  needs_.excluded = agent_.excluded(excluded_before_);
  if (!excluded_before_.empty())
    needs_.must = unite(needs_.must, subtract(excluded_before_, needs_.excluded));
}

// As they are now; what is excluded is looked up with them.
template <typename Action>
void ProcessCapture::for_each_private_mapping(const Action& action) {
  maps_ = read_memory_map(process_->pid);
  learn_excluded();
  PathStatuses paths;
  for (const MapEntry& entry : maps_) {
    if (std::optional<PageFilter> filter = private_content_filter(entry, paths))
      action(entry, AddressRange{entry.start, entry.end}, *filter);
  }
}

PendingPages ProcessCapture::survey() {
  flags_ = MapFlagsTable::read(process_->pid);
  PendingPages pending;
  known_content_.clear();
  PageScanner scanner(process_->pid);
  for_each_private_mapping([&](const MapEntry& entry, AddressRange mapping, PageFilter filter) {
    std::optional<ScannedPages> pages;
    if (tracks()) pages = scanner.scan_tracked(mapping, filter, Arm::kNo);
    bool registered = pages.has_value();
    if (!registered) {
      pages = scanner.scan_all(mapping, filter);
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
  });
  pending_ = pending;
  return pending;
}

// Registered private memory that the version lacks. Memory that is not registered is left to the stop.
void ProcessCapture::arm_written() {
  if (!tracks()) return;
  PageScanner scanner(process_->pid);
  AddressRanges newly_owed;
  for_each_private_mapping([&](const MapEntry& entry, AddressRange mapping, PageFilter filter) {
    ScannedPages pages = scanner.arm_running(mapping, filter);
    for (const AddressRange& range : pages.written) append(newly_owed, range);
    needs_.leave_out_excluded(pages, mapping);
    add_private_tasks(entry, needs_.of(pages, mapping), process_->space, true, precopy_tasks_);
  });
  process_->tracker->owe(newly_owed);
}

void ProcessCapture::precopy(store::CheckpointWriter& writer, PagesInCommon in_common) {
  if (!tracks()) return;
  MemoryReader reader(process_->pid, in_common);
  store_pages(precopy_tasks_, reader, writer, Unreadable::kSkip);
  precopy_tasks_.clear();
  needs_.all = false;
  needs_.must.clear();
  excluded_before_ = needs_.excluded;
}

bool ProcessCapture::look_at_maps() {
  maps_ = read_memory_map(process_->pid);
  flags_are_stale_ = !flags_.covers(maps_);
  return flags_are_stale_;
}

void ProcessCapture::know_missing(Paging& paging) {
  paging_ = &paging;
  MissingState state = paging.settle();
  missing_ = {};
  for (const MissingPiece& piece : state.pieces) missing_.add(piece);
  AddressRanges moved = ranges_of(state.moved_to);
  if (process_->tracker) process_->tracker->owe(moved);
  needs_.must = unite(needs_.must, moved);
}

// Excluded since it was discarded: the program still has it, but no version does from now on.
void ProcessCapture::bring_excluded() {
  if (missing_.empty() || needs_.excluded.empty()) return;
  std::vector<store::PageRun> excluded = runs_of(needs_.excluded);
  paging_->bring(excluded);
  for (const store::PageRun& run : excluded) missing_.remove(run.first_page, run.page_count);
}

ProcessContext ProcessCapture::context(Tracee& tracee) {
  // Mappings have come and gone since the flags were read: then the pause is longer.
  if (std::exchange(flags_are_stale_, false)) flags_ = MapFlagsTable::read(process_->pid);
  learn_excluded();
  bring_excluded();
  return {.tracee = tracee,
          .calls = process_->calls,
          .maps = maps_,
          .flags = flags_,
          .tracker = tracks() ? process_->tracker.get() : nullptr,
          .needs = needs_,
          .known_content = known_content_,
          .space = process_->space,
          .opener = [this](int number,
                           const std::string& link) { return opener_of(agent_, maps_, number, link); },
          .kept = process_->kept};
}

void ProcessCapture::describe_agent(image::ProcessT& process) const {
  process.agent_tables = agent_.saved();
  process.keeper_thread = process_->kept.thread;
  describe_intent(agent_, maps_, process);
}

std::uint64_t ProcessCapture::take_pages(Tracee& tracee, CapturedMemory memory, bool snapshot,
                                         Session::State& session, store::CheckpointWriter& writer,
                                         image::ProcessT& process) {
  memory_ = std::move(memory);
  PageTasks& tasks = memory_.tasks;
  if (snapshot) snapshot_ = Snapshot::take(tracee, memory_.quiet);
  if (snapshot_ != nullptr) {
    AddressRanges there = mapped_ranges(snapshot_->pid());
    auto first = std::stable_partition(tasks.begin(), tasks.end(), [&there](const PageTask& task) {
      return !task.in_snapshot || slice(there, task.range) != AddressRanges{task.range};
    });
    snapshot_tasks_.assign(first, tasks.end());
    tasks.erase(first, tasks.end());
  }
  MemoryReader reader(process_->pid, pages_in_common(session));
  describe_late_guards(copy_pages(tasks, reader, session.buffer, writer, session.threads), process);
  forget_guards(process);
  process_->excluded_in_last = needs_.excluded;
  process_->carried_in_last = memory_.carried;
  return total_bytes(tasks);
}

void ProcessCapture::store(store::CheckpointWriter& writer, image::ProcessT& process) {
  if (snapshot_ != nullptr) {
    refuse_wiped(snapshot_->pid(), snapshot_tasks_);
    MemoryReader reader(snapshot_->pid(), PagesInCommon::kPossible);
    describe_late_guards(store_pages(snapshot_tasks_, reader, writer, Unreadable::kError), process);
  }
  store_missing(writer);
  writer.keep_only(process_->space, memory_.present);
}

// What has become a guard region has no content, and is not missing any more: when the program runs again, it
// may be memory again that reads as zeroes.
void ProcessCapture::forget_guards(const image::ProcessT& process) {
  if (missing_.empty()) return;
  AddressRanges guards;
  for (const auto& mapping : process.mappings) {
    for (const image::GuardRegion& guard : mapping->guards) guards.push_back({guard.start(), guard.end()});
  }
  if (guards.empty()) return;
  normalize(guards);
  std::vector<store::PageRun> runs = runs_of(guards);
  paging_->forget(runs);
  for (const store::PageRun& run : runs) missing_.remove(run.first_page, run.page_count);
}

void ProcessCapture::store_missing(store::CheckpointWriter& writer) {
  // Some are there all the same (PageServer::evict).
  for (const store::PageRun& run : memory_.present) missing_.remove(run.first_page, run.page_count);
  if (missing_.empty()) return;
  for (const MissingPiece& piece : missing_.all()) {
    memory_.present.push_back({.first_page = piece.page, .page_count = piece.page_count});
    // The version has it already where its parent has the same at the same place.
    if (piece.page != piece.source || paging_->version() != parent_) copy_missing(piece, writer);
  }
  memory_.present = runs_of(ranges_of(memory_.present));
}

void ProcessCapture::copy_missing(const MissingPiece& piece, store::CheckpointWriter& writer) const {
  constexpr std::uint64_t kPagesAtOnce = 1024;
  std::vector<std::byte> bytes(std::min(kPagesAtOnce, piece.page_count) * kPageSize);
  for (std::uint64_t done = 0; done < piece.page_count; done += kPagesAtOnce) {
    std::uint64_t count = std::min(kPagesAtOnce, piece.page_count - done);
    std::span<std::byte> part = std::span(bytes).first(count * kPageSize);
    paging_->read({.first_page = piece.source + done, .page_count = count}, part);
    writer.put(process_->space, piece.page + done, part);
  }
}

// The scan in the pause takes for content what had some a moment before; only reading it tells.
void ProcessCapture::describe_late_guards(AddressRanges guards, image::ProcessT& process) {
  if (guards.empty()) return;
  normalize(guards);
  for (auto& mapping : process.mappings) {
    AddressRanges late = slice(guards, {mapping->start, mapping->end});
    if (late.empty()) continue;
    for (const AddressRange& guard : late) mapping->guards.emplace_back(guard.start, guard.end);
    std::ranges::sort(mapping->guards, {}, &image::GuardRegion::start);
  }
  memory_.present = runs_of(subtract(ranges_of(memory_.present), guards));
}

void ProcessCapture::end_snapshot() {
  if (snapshot_ != nullptr) snapshot_->end();
}

void ProcessCapture::reap_snapshot(Tracee& tracee) {
  if (snapshot_ != nullptr) snapshot_->reap(tracee);
}

}  // namespace ckpt::engine
