// Reads everything that versions consist of, down to the last page, and says what is damaged.
//
// Trees share nodes and pages, between versions too: each node is loaded once, each page read once, segment
// by segment from its beginning to its end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/application_files.h"
#include "store/checkpoint_store.h"

namespace ckpt::store {

// `versions`: which to verify, none of them twice (none: all); unknown ones are reported as damaged. Any
// number of threads read. Throws Error only if the directory itself cannot be read.
VerifyReport verify_versions(const ApplicationFiles& files, const std::vector<Version>& versions);

}  // namespace ckpt::store
