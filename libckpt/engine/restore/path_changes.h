// Paths of a checkpoint that lead somewhere else by now: a program directory, data or a home that moved.
//
// change_paths() rewrites every path of the image, right after it was unpacked; whoever opens, maps or checks
// a file afterwards sees only the new ones, and so do the checkpoints to come. Paths that the program itself
// remembers in its memory stay what they are.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/restore/path_change.h"
#include "image_generated.h"

namespace ckpt::engine {

// Where `path` leads: the change with the longest `from` applies, other paths come back as they are.
std::string changed_path(const std::string& path, std::span<const PathChange> changes);

// Returns a line for each change that no path of the checkpoint needed. Throws Error for the path of a socket
// that gets longer than the kernel takes.
std::vector<std::string> change_paths(image::CheckpointT& checkpoint, std::span<const PathChange> changes);

}  // namespace ckpt::engine
