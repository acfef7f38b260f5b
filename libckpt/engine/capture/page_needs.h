// Which pages a version still needs from the program.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/capture/address_ranges.h"
#include "engine/capture/page_scan.h"

namespace ckpt::engine {

// A private mapping of a file that is stored with all that the file holds.
struct CarriedMapping {
  AddressRange range;
  std::uint64_t device = 0, inode = 0, offset = 0;

  bool operator==(const CarriedMapping&) const = default;
};
using CarriedMappings = std::vector<CarriedMapping>;

struct PageNeeds {
  bool all = true;          // all with content, whether written or not
  AddressRanges must;       // else: these, and those written since they were armed
  AddressRanges excluded;   // none of these in any case
  CarriedMappings carried;  // the version that this one builds on has them

  // Excluded pages of the mapping that was scanned do not count as content.
  void leave_out_excluded(ScannedPages& pages, AddressRange mapping) const;
  // What of the content left is needed.
  AddressRanges of(const ScannedPages& pages, AddressRange mapping) const;
};

}  // namespace ckpt::engine
