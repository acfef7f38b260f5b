// Versions as the tree they are: each continues an older one; recovering an old one starts a branch.
#pragma once

#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::launcher {

struct TreeRow {
  std::size_t entry = 0;  // index into the versions
  std::string indent;     // what is drawn before it
};

// The newest of those versions that `entry` continues and that are still there; 0: none. `versions` ascend.
store::Version ancestor_of(const std::vector<store::VersionEntry>& versions,
                           const store::VersionEntry& entry);

// All versions, each behind the one that it continues; branches are indented and stand before what continues
// their origin.
std::vector<TreeRow> version_tree(const std::vector<store::VersionEntry>& versions);

}  // namespace ckpt::launcher
