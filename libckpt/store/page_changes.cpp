#include "store/page_changes.h"

#include <algorithm>

namespace ckpt::store {

void LeafChanges::add(std::size_t index, const Reference& reference) {
  if (pages.size() >= 2 * kFanout) normalize();
  pages.push_back({.reference = reference, .index = static_cast<std::uint16_t>(index)});
}

void LeafChanges::clear() {
  cleared = true;
  pages.clear();
  spilled_count = 0;
}

void LeafChanges::remove(const std::bitset<kFanout>& indices) {
  std::erase_if(pages, [&](const PageChange& page) { return indices[page.index]; });
}

void LeafChanges::normalize() {
  std::ranges::stable_sort(pages, {}, &PageChange::index);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    bool last = i + 1 == pages.size() || pages[i + 1].index != pages[i].index;
    if (last) pages[kept++] = pages[i];
  }
  pages.resize(kept);
}

}  // namespace ckpt::store
