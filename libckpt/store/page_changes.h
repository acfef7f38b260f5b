// What a writer changed in one space, by leaf of the page tree. About 32 bytes per changed page.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "store/segment_format.h"

namespace ckpt::store {

struct PageChange {
  Reference reference;  // absent: the page is removed
  std::uint16_t index = 0;
};

struct LeafChanges {
  bool cleared = false;  // nothing of the parent's leaf remains
  std::vector<PageChange> pages;
  // Older ones that are elsewhere for the time being (change_spill.h).
  std::uint64_t spilled_at = 0;
  std::uint32_t spilled_count = 0;

  // Nothing of the parent's leaf remains, and nothing of what was put.
  void clear();
  // The last change of a page wins. Keeps the list short when the same pages are put again and again.
  void add(std::size_t index, const Reference& reference);
  // Forgets what was put at these indices. What the parent has there is not marked as removed.
  void remove(const std::bitset<kFanout>& indices);
  // Sorts by index and leaves one change per page.
  void normalize();
};

using PageChanges = std::map<std::uint64_t, LeafChanges>;  // by page number / 512

}  // namespace ckpt::store
