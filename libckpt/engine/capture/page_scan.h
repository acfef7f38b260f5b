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

// Uses PAGEMAP_SCAN (Linux 6.7) and falls back to reading /proc/PID/pagemap.
class PageScanner {
 public:
  explicit PageScanner(pid_t pid);
  std::vector<AddressRange> scan(AddressRange range, PageFilter filter);

 private:
  bool scan_by_ioctl(AddressRange range, PageFilter filter, std::vector<AddressRange>& found);
  void scan_by_reading(AddressRange range, PageFilter filter, std::vector<AddressRange>& found) const;

  pid_t pid_;
  UniqueFd pagemap_;
  bool has_ioctl_ = true;
};

}  // namespace ckpt::engine
