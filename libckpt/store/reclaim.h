// Gives back the space of what is dead in the segments of removed versions.
//
// Such a segment is replaced by a copy of itself with holes where its dead pages were: every page and node
// that is alive stays at its place, so that no version that refers to it changes.
//
// Hard rules:
//   1. Only segments of removed versions (.dead); a visible version needs all of its own pages.
//   2. Under the exclusive lock on dead segments, from before the versions are read until the last copy has
//   its name:
//      no writer can begin to rely on a page that is found dead.
//   3. The copy is durable before it takes the name. Whoever has the old file open goes on reading that.
//   4. If any visible version cannot be read, nothing is done: what it refers to is not known.
#pragma once

#include "store/application_files.h"
#include "store/checkpoint_store.h"

namespace ckpt::store {

// Throws Error with code EBUSY if a version is being written.
Reclaimed reclaim(const ApplicationFiles& files);

}  // namespace ckpt::store
