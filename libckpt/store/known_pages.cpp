#include "store/known_pages.h"

#include <algorithm>
#include <utility>

namespace ckpt::store {

std::size_t KnownPages::slot_of(const Digest& digest) const {
  std::size_t mask = slots_.size() - 1;
  std::size_t oldest = digest.low & mask;
  for (std::size_t i = 0; i < kProbes; ++i) {
    std::size_t slot = (digest.low + i) & mask;
    if (!slots_[slot].present() || slots_[slot].digest == digest) return slot;
    if (slots_[slot].place() < slots_[oldest].place()) oldest = slot;
  }
  return oldest;
}

Reference KnownPages::find(const Digest& digest) const {
  if (slots_.empty()) return {};
  const Reference& known = slots_[slot_of(digest)];
  return known.digest == digest ? known : Reference{};
}

void KnownPages::add(const Reference& page) {
  if (used_ * 2 >= slots_.size() && slots_.size() < most_) grow();
  Reference& slot = slots_[slot_of(page.digest)];
  if (!slot.present()) ++used_;
  slot = page;
}

void KnownPages::grow() {
  std::vector<Reference> old =
      std::exchange(slots_, std::vector<Reference>(std::max(kLeast, slots_.size() * 2)));
  used_ = 0;
  for (const Reference& page : old) {
    if (page.present()) add(page);
  }
}

}  // namespace ckpt::store
