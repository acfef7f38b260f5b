#include "engine/paging/paging.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <optional>
#include <utility>

#include "base/error.h"
#include "engine/capture/memory.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/page_scan.h"
#include "engine/capture/pinned_writers.h"

namespace ckpt::engine {

using Discard = Paging::Discard;

namespace {

constexpr std::uint64_t kFlags = O_CLOEXEC | O_NONBLOCK;
constexpr std::size_t kMostCalls = 256;  // of one batch

bool may_be_missing(const MapEntry& entry) {
  return is_private_memory(entry) && entry.inode == 0 && !entry.path.starts_with("[stack");
}

AddressRanges ranges_of_pages(const std::vector<RemoteAddr>& pages) {
  AddressRanges ranges;
  for (RemoteAddr page : pages) ranges.push_back({page.value, page.value + kPageSize});
  normalize(ranges);
  return ranges;
}

// The bytes that the new ones are to discard, not more than `most` but for the rest of a page.
std::uint64_t add_discards(const AddressRanges& clean, const AddressRanges& dirty, std::uint64_t most,
                           std::vector<Discard>& discards) {
  std::uint64_t added = 0;
  std::size_t begun = discards.size();
  auto next_dirty = dirty.begin();
  for (AddressRange range : clean) {
    if (added >= most) break;
    range.end = std::min(range.end, range.start + page_ceil(most - added));
    added += range.size_bytes();
    while (next_dirty != dirty.end() && next_dirty->end <= range.start) ++next_dirty;
    bool joins = false;
    if (discards.size() > begun) {
      std::uint64_t end = discards.back().pages.back().end;
      auto before = next_dirty == dirty.begin() ? dirty.end() : std::prev(next_dirty);
      joins = before == dirty.end() || before->end <= end;
    }
    if (!joins)
      discards.push_back(
          {.call = {.number = SYS_madvise, .arguments = {range.start, 0, MADV_DONTNEED}}, .pages = {}});
    Discard& last = discards.back();
    last.pages.push_back(range);
    last.call.arguments[1] = range.end - last.call.arguments[0];
  }
  return std::min(added, most);
}

}  // namespace

void Paging::check_permission() {
  UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, kFlags)));
  try {
    if (!fd) throw_errno("userfaultfd");
    UserFaults(std::move(fd)).start(Watching::kFaultsAndWrites);
  } catch (const Error& error) {
    if (error.code() == EINVAL) throw Error("a limit of memory needs Linux 6.7", EINVAL);
    throw Error("a limit of memory needs CAP_SYS_PTRACE, for faults and forks of the program", error.code());
  }
}

std::unique_ptr<Paging> Paging::of_program(pid_t pid) {
  auto fill = std::make_unique<LazyFill>(
      LazyFillWork{.reader = nullptr, .memories = {}, .processes = {pid}, .stays = true});
  return std::make_unique<Paging>(std::move(fill), nullptr, nullptr);
}

Paging::Paging(std::unique_ptr<LazyFill> fill, std::shared_ptr<const store::CheckpointReader> reader,
               std::unique_ptr<WriteTracker> watched)
    : fill_(std::move(fill)), watched_(std::move(watched)) {
  if (reader) serve_from(std::move(reader));
}

void Paging::serve_from(std::shared_ptr<const store::CheckpointReader> reader) {
  stored_ = ranges_of(reader->runs(kProcessSpace));
  version_ = reader->description().version;
  reader_ = std::move(reader);
}

// Memory that is watched already stays with its userfaultfd, without which what is missing would read as
// zeroes.
std::unique_ptr<WriteTracker> Paging::watch(Tracee& tracee) {
  if (watched_ && watched_->alive()) return watched_->another();
  UserFaults faults(take_userfaultfd(tracee, kFlags));
  if (faults.fd() < 0) return nullptr;
  try {
    faults.start(Watching::kFaultsAndWrites);
  } catch (const Error&) {
    return nullptr;
  }
  watched_ = WriteTracker::of(faults.fd(), tracee.pid(), 0);
  fill_->server().watch_program(tracee.pid(), std::move(faults));
  return watched_->another();
}

// A program that has been replaced by another (exec) misses nothing.
MissingState Paging::settle() {
  if (watched_ && !watched_->alive()) {
    fill_->server().forget_program();
    watched_.reset();
  }
  return fill_->server().settle();
}

void Paging::read(const store::PageRun& source, std::span<std::byte> out) const {
  reader_->read(kProcessSpace, source, out);
}

void Paging::replace_version(std::shared_ptr<const store::CheckpointReader> reader) {
  fill_->server().replace_version(reader);
  serve_from(std::move(reader));
}

// Round and round, from where it ended last. What is `untouched` is not discarded even if it is missing: it
// may come back meanwhile.
std::vector<Discard> Paging::choose(Tracee& tracee, WriteTracker& tracker, const AddressRanges& not_clean,
                                    const AddressRanges& untouched, std::uint64_t bytes) {
  PageScanner scanner(tracee.pid());
  std::vector<MapEntry> maps = read_memory_map(tracee.pid());
  std::erase_if(maps, [](const MapEntry& entry) { return !may_be_missing(entry); });
  auto first = std::ranges::find_if(maps, [this](const auto& entry) { return entry.end > hand_; });
  std::rotate(maps.begin(), first, maps.end());
  std::uint64_t from = std::exchange(hand_, 0);
  std::vector<Discard> discards;
  for (const MapEntry& entry : maps) {
    AddressRange mapping{std::max(entry.start, from), entry.end};
    from = 0;
    std::optional<ScannedPages> pages = scanner.scan_tracked(mapping, PageFilter::kAnyContent, Arm::kNo);
    if (!pages) continue;
    AddressRanges stay = unite(unite(pages->written, not_clean), untouched);
    AddressRanges clean = subtract(pages->content, stay);
    if (clean.empty() || !tracker.serve_missing({entry.start, entry.end})) continue;
    AddressRanges not_to_pass = unite(subtract(pages->content, clean), untouched);
    bytes -= add_discards(clean, not_to_pass, bytes, discards);
    if (bytes > 0) continue;
    hand_ = discards.back().pages.back().end;
    break;
  }
  return discards;
}

void Paging::discard(Tracee& tracee, std::vector<Discard>& discards) {
  std::vector<RemoteCall> calls;
  for (std::size_t done = 0; done < discards.size(); done += calls.size()) {
    calls.clear();
    for (std::size_t i = done; i < discards.size() && calls.size() < kMostCalls; ++i)
      calls.push_back(discards[i].call);
    ThreadCalls batch{.thread = &tracee.main_thread(), .calls = calls};
    tracee.remote_syscalls(std::span(&batch, 1));
    for (std::size_t i = 0; i < calls.size(); ++i) discards[done + i].call.result = calls[i].result;
  }
}

// What of it the version has; what it has not reads as zeroes.
std::vector<MissingPiece> Paging::pieces_of(const AddressRanges& pages) const {
  std::vector<MissingPiece> pieces;
  for (const store::PageRun& run : runs_of(intersect(pages, stored_)))
    pieces.push_back({.page = run.first_page, .source = run.first_page, .page_count = run.page_count});
  return pieces;
}

std::uint64_t Paging::evict(Tracee& tracee, WriteTracker& tracker, const AddressRanges& kept,
                            std::uint64_t bytes) {
  if (version_ == 0 || tracker.base() != version_ || has_pinned_writers(tracee.pid())) return 0;
  PageServer& server = fill_->server();
  // What was moved is not where the version has it.
  AddressRanges moved = ranges_of(server.begin_eviction());
  std::vector<Discard> discards;
  AddressRanges pages;
  std::exception_ptr failure;
  try {
    discards = choose(tracee, tracker, unite(unite(tracker.owed(), kept), moved),
                      ranges_of_pages(tracee.pages_touched_by_calls()), bytes);
    for (const Discard& one : discards) pages.insert(pages.end(), one.pages.begin(), one.pages.end());
    normalize(pages);
    server.evict(pieces_of(pages));
    discard(tracee, discards);
  } catch (...) {
    failure = std::current_exception();  // then any of them may have been discarded
  }
  AddressRanges still_there;  // locked, say
  for (const Discard& one : discards) {
    if (one.call.result != 0 && failure == nullptr)
      still_there.insert(still_there.end(), one.pages.begin(), one.pages.end());
  }
  normalize(still_there);
  server.end_eviction(runs_of(still_there));
  if (failure) std::rethrow_exception(failure);
  return total_bytes(pages) - total_bytes(still_there);
}

}  // namespace ckpt::engine
