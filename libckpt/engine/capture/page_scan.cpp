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

void append(std::vector<AddressRange>& ranges, AddressRange range) {
  if (!ranges.empty() && ranges.back().end == range.start) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

PageScanner::PageScanner(pid_t pid, ScanMethod method)
    : pid_(pid),
      pagemap_(open_or_throw(fmt::format("/proc/{}/pagemap", pid), O_RDONLY)),
      has_ioctl_(method == ScanMethod::kFastest) {}

ScannedPages PageScanner::scan_all(AddressRange range, PageFilter filter) {
  ScannedPages found;
  if (has_ioctl_ && scan_by_ioctl(range, filter, found)) return found;
  // A kernel before 6.15 refuses to be asked for guards, one before 6.7 to be asked at all.
  if (has_ioctl_ && std::exchange(knows_guards_, false) && scan_by_ioctl(range, filter, found)) return found;
  has_ioctl_ = false;
  scan_by_reading(range, filter, found);
  return found;
}

bool PageScanner::scan_by_ioctl(AddressRange range, PageFilter filter, ScannedPages& found) {
  std::array<kernel::PageRegion, 1024> regions;
  std::uint64_t unwanted = kernel::kPageIsPfnZero;
  if (filter == PageFilter::kPrivateCopy) unwanted |= kernel::kPageIsFile;
  kernel::PagemapScanArguments arguments{};
  arguments.size = sizeof(arguments);
  arguments.end = range.end;
  arguments.vec = reinterpret_cast<std::uintptr_t>(regions.data());
  arguments.vec_len = regions.size();
  arguments.category_inverted = unwanted;
  arguments.category_mask = unwanted;
  arguments.category_anyof_mask = kernel::kPageIsPresent | kernel::kPageIsSwapped;
  arguments.return_mask = kernel::kPageIsPresent | (knows_guards_ ? kernel::kPageIsGuard : 0);
  for (std::uint64_t at = range.start; at < range.end;) {
    arguments.start = at;
    int count = ::ioctl(pagemap_.get(), kernel::kPagemapScan, &arguments);
    if (count < 0 && (errno == ENOTTY || errno == EINVAL) && at == range.start) return false;
    if (count < 0) throw_errno(fmt::format("scan memory of process {} at {:#x}", pid_, at));
    for (int i = 0; i < count; ++i) {
      const kernel::PageRegion& region = regions[static_cast<std::size_t>(i)];
      bool guard = (region.categories & kernel::kPageIsGuard) != 0;
      append(guard ? found.guards : found.content, {region.start, region.end});
    }
    // Where regions filled the kernel's own buffer before the walk came to its end, walk_end is where that
    // was.
    at = arguments.walk_end;
    if (count > 0) at = std::max(at, regions[static_cast<std::size_t>(count) - 1].end);
  }
  return true;
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
