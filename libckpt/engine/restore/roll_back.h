// Puts files that the program writes back as they were at the checkpoint.
//
// What that replaces is kept beside the file as "VERSION-replaced.NAME": the whole file, or of a file that is
// only appended to what was appended since. Files beside it whose names begin with its own (journals, locks,
// parts) and that were not there at the checkpoint are moved aside in the same way: to the program they do
// not exist.
//
// Hard rules:
//   1. What is replaced is on disk under its new name before the file is changed.
//   2. The file stays the same file (inode), so that its links and permissions stay.
//   3. Interrupted at any point, it can be done again.
#pragma once

#include <string>
#include <vector>

#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// `version_name`: "app@7". Returns a line for each file that was changed, made or moved. Throws Error if one
// cannot be put back.
std::vector<std::string> roll_back_files(const image::CheckpointT& checkpoint,
                                         const store::CheckpointReader& reader,
                                         const std::string& version_name);

}  // namespace ckpt::engine
