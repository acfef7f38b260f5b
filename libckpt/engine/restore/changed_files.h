#pragma once

#include <string>

#include "image_generated.h"

namespace ckpt::engine {

// One line about the files that the program has open and that have changed since the checkpoint (size or time
// of modification); empty if none has. `rolled_back`: files that are part of the checkpoint have been put
// back, and count as unchanged.
std::string changed_files_note(const image::ProcessT& process, bool rolled_back);

}  // namespace ckpt::engine
