// Where pages with a content are in the segments of an application, as far as its writers remember. A
// hint: the content is to be compared before anything is made of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "store/digest.h"
#include "store/segment_format.h"

namespace ckpt::store {

// Of limited size: what comes later may take the place of what was there. Not thread-safe.
class KnownPages {
 public:
  // At most so many, a power of two.
  explicit KnownPages(std::size_t most) : most_(most) {}
  KnownPages() = default;
  // Absent if it is not known.
  Reference find(const Digest& digest) const;
  void add(const Reference& page);

 private:
  static constexpr std::size_t kProbes = 16;
  static constexpr std::size_t kLeast = 1U << 12;
  static constexpr std::size_t kMost = 1U << 19;  // of 2 GiB; 12 MiB of memory

  // Where the page with this digest is, or else where it would be put: a free slot, or that of the page that
  // was written first.
  std::size_t slot_of(const Digest& digest) const;
  void grow();

  std::size_t most_ = kMost;
  std::vector<Reference> slots_;  // by digest, open addressing; a power of two
  std::size_t used_ = 0;
};

}  // namespace ckpt::store
