// Where two page trees differ, found without loading what they share.
#pragma once

#include <cstdint>
#include <vector>

#include "store/checkpoint_store.h"
#include "store/manifest.h"
#include "store/page_tree.h"

namespace ckpt::store {

// A space in one version; no root: it has no pages there.
struct SpaceTree {
  const PageTreeReader* tree;
  const SpaceRoot* root;
};

// Runs of pages whose content differs, or that only one of the two has; ascending, merged where adjacent. The
// two may come from different applications.
std::vector<PageRun> differing_pages(const SpaceTree& one, const SpaceTree& other);

}  // namespace ckpt::store
