// Which pages of a mapping have content that must be written.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/kernel_abi.h"
#include "base/unique_fd.h"
#include "engine/capture/address_ranges.h"
#include "engine/capture/pause_threads.h"

namespace ckpt::engine {

enum class PageFilter {
  kAnyContent,  // present or swapped out, not the shared zero page
  kPrivateCopy  // the same, and no longer the file's page (private file mappings after a write)
};

struct ScannedPages {
  AddressRanges content;
  AddressRanges guards;   // MADV_GUARD_INSTALL: every access is a SIGSEGV
  AddressRanges written;  // tracked scans only: content that was written since it was last armed
};

enum class Arm {
  kNo,   // look only
  kYes,  // what is reported counts as unwritten from this moment on
};

enum class ScanMethod {
  kFastest,  // PAGEMAP_SCAN, or reading where the kernel lacks that
  kReading   // pagemap alone, which does not tell the shared zero page from others
};

// Uses PAGEMAP_SCAN (Linux 6.7) and falls back to reading /proc/PID/pagemap. Kernels 6.13 and 6.14 have guard
// regions but do not tell of them; there they are taken for content that cannot be read.
class PageScanner {
 public:
  // `threads`: share the work on large mappings; may be none.
  explicit PageScanner(pid_t pid, ScanMethod method = ScanMethod::kFastest, PauseThreads* threads = nullptr);
  ScannedPages scan_all(AddressRange range, PageFilter filter);
  std::vector<AddressRange> scan(AddressRange range, PageFilter filter) {
    return scan_all(range, filter).content;
  }
  // Content and what of it was written, of one mapping of a stopped program that is registered with a
  // WriteTracker; nothing if it is not (or no longer) registered, or the kernel cannot tell.
  // `known`: had content a moment ago (anonymous memory only; normalized, may reach beyond the range). It is
  // scanned three times as fast, by only looking for what changed. Pages of it that are gone since, or have
  // become guards, are then reported as content and as written; the former read as zeroes.
  std::optional<ScannedPages> scan_tracked(AddressRange range, PageFilter filter, Arm arm,
                                           const AddressRanges& known = {});
  // Of many mappings, which a call for each would take most of the time of: ascending, and with no other
  // mapping between them. Nothing, and nothing is armed, if one of them is not registered.
  struct TrackedMapping {
    AddressRange range;
    PageFilter filter = PageFilter::kAnyContent;
  };
  std::optional<std::vector<ScannedPages>> scan_tracked_together(std::span<const TrackedMapping> mappings,
                                                                 Arm arm);
  // While the program runs, when the range may be anything by now: what of it is registered is armed and
  // reported, the rest is left out. (To ask whether it is registered would arm its beginning and then say
  // no.)
  ScannedPages arm_running(AddressRange range, PageFilter filter);

 private:
  enum class Outcome { kDone, kNotSupported, kNotTracked };
  struct Part {
    AddressRange range;
    bool known = false;
    Outcome outcome = Outcome::kDone;
    ScannedPages found = {};
  };
  std::vector<Part> parts_of(AddressRange range, const AddressRanges& known) const;
  Outcome walk(AddressRange range, PageFilter filter, std::uint64_t flags, const AddressRanges& known,
               ScannedPages& found);
  void walk_part(PageFilter filter, std::uint64_t flags, Part& part) const;
  template <typename Take>
  Outcome scan_regions(AddressRange range, kernel::PagemapScanArguments arguments, const Take& take) const;
  bool all_tracked(AddressRange range) const;
  void scan_by_reading(AddressRange range, PageFilter filter, ScannedPages& found) const;

  pid_t pid_;
  UniqueFd pagemap_;
  bool has_ioctl_;
  bool knows_guards_ = true;
  PauseThreads* threads_;
};

}  // namespace ckpt::engine
