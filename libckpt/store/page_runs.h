#pragma once

#include <cstdint>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::store {

// Pages are given in ascending order; adjacent ones make one run.
inline void append_page(std::vector<PageRun>& runs, std::uint64_t page) {
  if (!runs.empty() && runs.back().first_page + runs.back().page_count == page) {
    ++runs.back().page_count;
  } else {
    runs.push_back({.first_page = page, .page_count = 1});
  }
}

}  // namespace ckpt::store
