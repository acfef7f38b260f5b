#include "engine/capture/page_scan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kMostRegionsPerCall = 2048;
constexpr std::uint64_t kPartBytes = 64 << 20;       // less is not worth another thread
constexpr std::size_t kMostParts = 4;                // for each thread: they do not take equally long
constexpr std::uint64_t kLeastKnownBytes = 1 << 20;  // a shorter stretch is not worth a call of its own

// What a scan for content asks for.
kernel::PagemapScanArguments content(PageFilter filter, bool tracked, bool guards) {
  kernel::PagemapScanArguments arguments{};
  arguments.size = sizeof(arguments);
  std::uint64_t unwanted = kernel::kPageIsPfnZero;
  if (filter == PageFilter::kPrivateCopy) unwanted |= kernel::kPageIsFile;
  arguments.category_inverted = unwanted;
  arguments.category_mask = unwanted;
  arguments.category_anyof_mask = kernel::kPageIsPresent | kernel::kPageIsSwapped;
  arguments.return_mask = (guards ? kernel::kPageIsGuard : 0) | (tracked ? kernel::kPageIsWritten : 0);
  // A region without any of the categories asked for would be left out.
  arguments.return_mask |= kernel::kPageIsPresent | kernel::kPageIsSwapped;
  return arguments;
}

// Exactly these masks take a short cut in the kernel (pagemap_scan_pmd_entry). It takes whatever is not an
// armed page for a written one, and arms it, also where nothing is: hence for known content only.
kernel::PagemapScanArguments changes_of_known_content() {
  kernel::PagemapScanArguments arguments{};
  arguments.size = sizeof(arguments);
  arguments.category_mask = kernel::kPageIsWritten;
  arguments.return_mask = kernel::kPageIsWritten;
  return arguments;
}

// What remains of an armed page of a file mapping after it was discarded (MADV_DONTNEED) looks like a page
// that is swapped out and unwritten, but reads as the file does. Since the two cannot be told apart it is
// read anyway, which brings back the file's page.
bool is_written(std::uint64_t categories, PageFilter filter) {
  bool swapped = (categories & kernel::kPageIsPresent) == 0;
  return (categories & kernel::kPageIsWritten) != 0 || (swapped && filter == PageFilter::kPrivateCopy);
}

// `known`: it had content before.
void add_region(const kernel::PageRegion& region, PageFilter filter, bool known, ScannedPages& found) {
  bool guard = (region.categories & kernel::kPageIsGuard) != 0;
  AddressRange range{region.start, region.end};
  if (!known) append(guard ? found.guards : found.content, range);
  if (!guard && is_written(region.categories, filter)) append(found.written, range);
}

}  // namespace

PageScanner::PageScanner(pid_t pid, ScanMethod method, PauseThreads* threads)
    : pid_(pid),
      pagemap_(open_or_throw(fmt::format("/proc/{}/pagemap", pid), O_RDONLY)),
      has_ioctl_(method == ScanMethod::kFastest),
      threads_(threads) {}

ScannedPages PageScanner::scan_all(AddressRange range, PageFilter filter) {
  ScannedPages found;
  if (has_ioctl_ && walk(range, filter, 0, {}, found) == Outcome::kDone) return found;
  // A kernel before 6.15 refuses to be asked for guards, one before 6.7 to be asked at all.
  if (has_ioctl_ && std::exchange(knows_guards_, false) &&
      walk(range, filter, 0, {}, found) == Outcome::kDone)
    return found;
  has_ioctl_ = false;
  scan_by_reading(range, filter, found);
  return found;
}

std::optional<ScannedPages> PageScanner::scan_tracked(AddressRange range, PageFilter filter, Arm arm,
                                                      const AddressRanges& known) {
  ScannedPages found;
  std::uint64_t flags = kernel::kScanCheckWriteProtectAsync;
  if (arm == Arm::kYes) flags |= kernel::kScanWriteProtectMatching;
  if (!has_ioctl_) return std::nullopt;
  Outcome outcome = walk(range, filter, flags, known, found);
  if (outcome == Outcome::kNotSupported && std::exchange(knows_guards_, false))
    outcome = walk(range, filter, flags, known, found);
  if (outcome != Outcome::kDone) return std::nullopt;
  return found;
}

ScannedPages PageScanner::arm_running(AddressRange range, PageFilter filter) {
  ScannedPages found;
  if (!has_ioctl_) return found;
  Outcome outcome = walk(range, filter, kernel::kScanWriteProtectMatching, {}, found);
  if (outcome == Outcome::kNotSupported && std::exchange(knows_guards_, false))
    walk(range, filter, kernel::kScanWriteProtectMatching, {}, found);
  return found;
}

// Long stretches of known content, and what lies between them, in pieces that several threads can share.
std::vector<PageScanner::Part> PageScanner::parts_of(AddressRange range, const AddressRanges& known) const {
  std::vector<Part> parts;
  std::uint64_t most = range.size_bytes();
  if (threads_ != nullptr)
    most = std::max(kPartBytes, page_ceil(most / (kMostParts * PauseThreads::count())));
  auto add = [&](AddressRange next, bool is_known) {
    for (; next.start < next.end; next.start += std::min(most, next.size_bytes()))
      parts.push_back({.range = {next.start, std::min(next.end, next.start + most)}, .known = is_known});
  };
  std::uint64_t at = range.start;
  for (const AddressRange& next : slice(known, range)) {
    if (next.size_bytes() < kLeastKnownBytes) continue;
    add({at, next.start}, false);
    add(next, true);
    at = next.end;
  }
  add({at, range.end}, false);
  return parts;
}

PageScanner::Outcome PageScanner::walk(AddressRange range, PageFilter filter, std::uint64_t flags,
                                       const AddressRanges& known, ScannedPages& found) {
  std::vector<Part> parts = parts_of(range, known);
  auto walk_one = [&](std::size_t i) { walk_part(filter, flags, parts[i]); };
  if (threads_ != nullptr && range.size_bytes() > kPartBytes) {
    threads_->run(parts.size(), walk_one);
  } else {
    for (std::size_t i = 0; i < parts.size(); ++i) walk_one(i);
  }
  for (const Part& part : parts) {
    if (part.outcome != Outcome::kDone) return part.outcome;
  }
  for (const Part& part : parts) {
    for (const AddressRange& next : part.found.content) append(found.content, next);
    for (const AddressRange& next : part.found.guards) append(found.guards, next);
    for (const AddressRange& next : part.found.written) append(found.written, next);
  }
  return Outcome::kDone;
}

void PageScanner::walk_part(PageFilter filter, std::uint64_t flags, Part& part) const {
  kernel::PagemapScanArguments arguments =
      part.known ? changes_of_known_content() : content(filter, flags != 0, knows_guards_);
  arguments.flags = flags;
  if (part.known) part.found.content = {part.range};
  part.outcome = scan_regions(part.range, arguments, [&](const kernel::PageRegion& region) {
    add_region(region, filter, part.known, part.found);
  });
}

// Calls `take` for each region that the kernel reports.
template <typename Take>
PageScanner::Outcome PageScanner::scan_regions(AddressRange range, kernel::PagemapScanArguments arguments,
                                               const Take& take) const {
  // The kernel makes as much room as we do: for most mappings a few will do.
  std::size_t capacity = std::min<std::size_t>(range.size_bytes() / kPageSize, kMostRegionsPerCall);
  auto regions = std::make_unique_for_overwrite<kernel::PageRegion[]>(capacity);
  arguments.end = range.end;
  arguments.vec = reinterpret_cast<std::uintptr_t>(regions.get());
  arguments.vec_len = capacity;
  for (std::uint64_t at = range.start; at < range.end;) {
    arguments.start = at;
    int count = ::ioctl(pagemap_.get(), kernel::kPagemapScan, &arguments);
    if (count < 0 && errno == EPERM && arguments.flags != 0) return Outcome::kNotTracked;
    if (count < 0 && (errno == ENOTTY || errno == EINVAL) && at == range.start) return Outcome::kNotSupported;
    if (count < 0) throw_errno(fmt::format("scan memory of process {} at {:#x}", pid_, at));
    std::span<const kernel::PageRegion> found(regions.get(), static_cast<std::size_t>(count));
    std::ranges::for_each(found, take);
    // Where regions filled the kernel's own buffer before the walk came to its end, walk_end is where that
    // was.
    at = arguments.walk_end;
    if (count > 0) at = std::max(at, found.back().end);
  }
  return Outcome::kDone;
}

// A scan that wants pages of mappings that are not tracked only passes those that are, without looking at
// their pages, and is refused at the first that is not.
bool PageScanner::all_tracked(AddressRange range) const {
  kernel::PagemapScanArguments arguments{};
  arguments.size = sizeof(arguments);
  arguments.flags = kernel::kScanCheckWriteProtectAsync;
  arguments.category_mask = arguments.category_inverted = kernel::kPageIsWriteProtectAllowed;
  arguments.return_mask = kernel::kPageIsWriteProtectAllowed;
  arguments.start = range.start;
  arguments.end = range.end;
  return ::ioctl(pagemap_.get(), kernel::kPagemapScan, &arguments) == 0;
}

std::optional<std::vector<ScannedPages>> PageScanner::scan_tracked_together(
    std::span<const TrackedMapping> mappings, Arm arm) {
  AddressRange all{mappings.front().range.start, mappings.back().range.end};
  // Asked first: a scan that comes to one that is not registered has armed those before it, and does not say
  // what was written there.
  if (!has_ioctl_ || !all_tracked(all)) return std::nullopt;
  // Anonymous memory has no pages of files.
  kernel::PagemapScanArguments arguments = content(PageFilter::kPrivateCopy, true, knows_guards_);
  arguments.flags = arm == Arm::kYes ? kernel::kScanWriteProtectMatching : 0;
  std::vector<ScannedPages> found(mappings.size());
  std::size_t mapping = 0;
  Outcome outcome = scan_regions(all, arguments, [&](kernel::PageRegion region) {
    // One that reaches over several of them.
    while (region.start < region.end) {
      while (mappings[mapping].range.end <= region.start) ++mapping;
      kernel::PageRegion part = region;
      part.end = std::min(region.end, mappings[mapping].range.end);
      add_region(part, mappings[mapping].filter, false, found[mapping]);
      region.start = part.end;
    }
  });
  if (outcome != Outcome::kDone) return std::nullopt;  // the kernel does not know guards; nothing was armed
  return found;
}

void PageScanner::scan_by_reading(AddressRange range, PageFilter filter, ScannedPages& found) const {
  std::array<std::uint64_t, 8192> entries;
  for (std::uint64_t at = range.start; at < range.end;) {
    std::size_t count = std::min<std::size_t>(entries.size(), (range.end - at) / kPageSize);
    pread_exactly(pagemap_.get(), std::as_writable_bytes(std::span(entries)).first(count * 8),
                  at / kPageSize * 8, fmt::format("/proc/{}/pagemap", pid_));
    for (std::size_t i = 0; i < count; ++i, at += kPageSize) {
      bool content = (entries[i] & (kernel::kPagemapPresent | kernel::kPagemapSwapped)) != 0;
      bool file = (entries[i] & kernel::kPagemapFileOrShared) != 0;
      if ((entries[i] & kernel::kPagemapGuard) != 0) {
        append(found.guards, {at, at + kPageSize});
      } else if (content && !(file && filter == PageFilter::kPrivateCopy)) {
        append(found.content, {at, at + kPageSize});
      }
    }
  }
}

}  // namespace ckpt::engine
