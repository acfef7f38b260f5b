#pragma once

#include <string>
#include <vector>

#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Makes files that are gone, and that are part of the checkpoint, as they were then. One line for all of them
// in `notes`. Throws Error if one cannot be made.
void make_embedded_files(const image::ProcessT& process, const store::CheckpointReader& reader,
                         std::vector<std::string>& notes);

}  // namespace ckpt::engine
