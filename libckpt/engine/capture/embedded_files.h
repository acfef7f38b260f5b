// Files that the program only reads, as part of the checkpoint: program file, libraries, data (--files
// embed).
#pragma once

#include <string>
#include <vector>

#include "engine/resource/descriptors.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Fills embedded_files of the program's process, for all processes, while these are stopped; their
// descriptors and mappings have been saved. Takes a space of the store for each file.
void list_embedded_files(ObjectTable& objects, image::CheckpointT& checkpoint);

// Gives the store the content of these files, while the program runs. What is no longer the file that was
// listed is left out, with a line in `notes`.
void store_embedded_files(store::CheckpointWriter& writer, image::ProcessT& process,
                          std::vector<std::string>& notes);

}  // namespace ckpt::engine
