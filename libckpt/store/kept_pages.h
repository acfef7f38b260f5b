// The pages that keep_only leaves in a space: ascending, disjoint runs, asked for by leaf of the page tree.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>

#include "store/checkpoint_store.h"
#include "store/segment_format.h"

namespace ckpt::store {

class KeptPages {
 public:
  // `runs` must outlive this. Throws Error if they are not ascending and disjoint.
  explicit KeptPages(std::span<const PageRun> runs);

  bool empty() const { return runs_.empty(); }
  // Whether all pages of these leaves stay.
  bool covers_leaves(std::uint64_t first_leaf, std::uint64_t last_leaf) const;
  // The pages of one leaf that go.
  std::bitset<kFanout> missing_in(std::uint64_t leaf) const;

 private:
  // The first run that ends behind `page`.
  std::span<const PageRun>::iterator first_behind(std::uint64_t page) const;

  std::span<const PageRun> runs_;
};

}  // namespace ckpt::store
