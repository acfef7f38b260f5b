// A version that becomes one of another application, too, without its pages being copied: the segments that
// it needs get a second name there. No segment is ever written to again, so neither application notices what
// the other does with its names.
#pragma once

#include "store/application_files.h"

namespace ckpt::store {

// Gives `to`, which has no versions, this version of `from` under the same number. False, with nothing there,
// where names cannot be added: another file system, one without hard links, or one of the two is in use.
// Throws Error if the version is unknown or damaged.
bool share_version(const ApplicationFiles& from, Version version, const ApplicationFiles& to);

}  // namespace ckpt::store
