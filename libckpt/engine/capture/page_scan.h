// Which pages of a mapping have content that must be written.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/unique_fd.h"

namespace ckpt::engine {

// Addresses, page aligned.
struct AddressRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

enum class PageFilter {
  kAnyContent,  // present or swapped out, not the shared zero page
  kPrivateCopy  // the same, and no longer the file's page (private file mappings after a write)
};

struct ScannedPages {
  std::vector<AddressRange> content;
  std::vector<AddressRange> guards;  // MADV_GUARD_INSTALL: every access is a SIGSEGV
};

enum class ScanMethod {
  kFastest,  // PAGEMAP_SCAN, or reading where the kernel lacks that
  kReading   // pagemap alone, which does not tell the shared zero page from others
};

// Uses PAGEMAP_SCAN (Linux 6.7) and falls back to reading /proc/PID/pagemap. Kernels 6.13 and 6.14 have guard
// regions but do not tell of them; there they are taken for content that cannot be read.
class PageScanner {
 public:
  explicit PageScanner(pid_t pid, ScanMethod method = ScanMethod::kFastest);
  ScannedPages scan_all(AddressRange range, PageFilter filter);
  std::vector<AddressRange> scan(AddressRange range, PageFilter filter) {
    return scan_all(range, filter).content;
  }

 private:
  bool scan_by_ioctl(AddressRange range, PageFilter filter, ScannedPages& found);
  void scan_by_reading(AddressRange range, PageFilter filter, ScannedPages& found) const;

  pid_t pid_;
  UniqueFd pagemap_;
  bool has_ioctl_;
  bool knows_guards_ = true;
};

}  // namespace ckpt::engine
