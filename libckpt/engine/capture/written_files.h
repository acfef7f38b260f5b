// Files that the processes write, as part of the checkpoint.
#pragma once

#include "engine/resource/descriptors.h"
#include "image_generated.h"

namespace ckpt::engine {

// Fills checkpoint.process->written_files and gives the store their content, while the processes are stopped;
// their descriptors and mappings have been saved. Of a file that all its writers append to only the length is
// kept. Files that cannot be read are named in the notes.
void save_written_files(SaveContext& context, image::CheckpointT& checkpoint);

}  // namespace ckpt::engine
