#include "engine/capture/page_scan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kRegionsPerCall = 8192;

// What remains of an armed page of a file mapping after it was discarded (MADV_DONTNEED) looks like a page
// that is swapped out and unwritten, but reads as the file does. Since the two cannot be told apart it is
// read anyway, which brings back the file's page.
bool is_written(std::uint64_t categories, PageFilter filter) {
  bool swapped = (categories & kernel::kPageIsPresent) == 0;
  return (categories & kernel::kPageIsWritten) != 0 || (swapped && filter == PageFilter::kPrivateCopy);
}

}  // namespace

PageScanner::PageScanner(pid_t pid, ScanMethod method)
    : pid_(pid),
      pagemap_(open_or_throw(fmt::format("/proc/{}/pagemap", pid), O_RDONLY)),
      has_ioctl_(method == ScanMethod::kFastest),
      regions_(kRegionsPerCall) {}

ScannedPages PageScanner::scan_all(AddressRange range, PageFilter filter) {
  ScannedPages found;
  if (has_ioctl_ && walk(range, filter, 0, found) == Outcome::kDone) return found;
  // A kernel before 6.15 refuses to be asked for guards, one before 6.7 to be asked at all.
  if (has_ioctl_ && std::exchange(knows_guards_, false) && walk(range, filter, 0, found) == Outcome::kDone)
    return found;
  has_ioctl_ = false;
  scan_by_reading(range, filter, found);
  return found;
}

std::optional<ScannedPages> PageScanner::scan_tracked(AddressRange range, PageFilter filter, Arm arm) {
  ScannedPages found;
  std::uint64_t flags = kernel::kScanCheckWriteProtectAsync;
  if (arm == Arm::kYes) flags |= kernel::kScanWriteProtectMatching;
  if (!has_ioctl_) return std::nullopt;
  Outcome outcome = walk(range, filter, flags, found);
  if (outcome == Outcome::kNotSupported && std::exchange(knows_guards_, false))
    outcome = walk(range, filter, flags, found);
  if (outcome != Outcome::kDone) return std::nullopt;
  return found;
}

ScannedPages PageScanner::arm_running(AddressRange range, PageFilter filter) {
  ScannedPages found;
  if (!has_ioctl_) return found;
  Outcome outcome = walk(range, filter, kernel::kScanWriteProtectMatching, found);
  if (outcome == Outcome::kNotSupported && std::exchange(knows_guards_, false))
    walk(range, filter, kernel::kScanWriteProtectMatching, found);
  return found;
}

PageScanner::Outcome PageScanner::walk(AddressRange range, PageFilter filter, std::uint64_t flags,
                                       ScannedPages& found) {
  std::uint64_t unwanted = kernel::kPageIsPfnZero;
  if (filter == PageFilter::kPrivateCopy) unwanted |= kernel::kPageIsFile;
  kernel::PagemapScanArguments arguments{};
  arguments.size = sizeof(arguments);
  arguments.flags = flags;
  arguments.end = range.end;
  arguments.vec = reinterpret_cast<std::uintptr_t>(regions_.data());
  arguments.vec_len = regions_.size();
  arguments.category_inverted = unwanted;
  arguments.category_mask = unwanted;
  arguments.category_anyof_mask = kernel::kPageIsPresent | kernel::kPageIsSwapped;
  arguments.return_mask =
      (knows_guards_ ? kernel::kPageIsGuard : 0) | (flags != 0 ? kernel::kPageIsWritten : 0);
  // A region without any of the categories asked for would be left out.
  arguments.return_mask |= kernel::kPageIsPresent | kernel::kPageIsSwapped;
  for (std::uint64_t at = range.start; at < range.end;) {
    arguments.start = at;
    int count = ::ioctl(pagemap_.get(), kernel::kPagemapScan, &arguments);
    if (count < 0 && errno == EPERM && flags != 0) return Outcome::kNotTracked;
    if (count < 0 && (errno == ENOTTY || errno == EINVAL) && at == range.start) return Outcome::kNotSupported;
    if (count < 0) throw_errno(fmt::format("scan memory of process {} at {:#x}", pid_, at));
    for (int i = 0; i < count; ++i) {
      const kernel::PageRegion& region = regions_[static_cast<std::size_t>(i)];
      bool guard = (region.categories & kernel::kPageIsGuard) != 0;
      append(guard ? found.guards : found.content, {region.start, region.end});
      if (!guard && is_written(region.categories, filter)) append(found.written, {region.start, region.end});
    }
    // Where regions filled the kernel's own buffer before the walk came to its end, walk_end is where that
    // was.
    at = arguments.walk_end;
    if (count > 0) at = std::max(at, regions_[static_cast<std::size_t>(count) - 1].end);
  }
  return Outcome::kDone;
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
