// Resource limits.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "image_generated.h"

namespace ckpt::engine {

void save_limits(pid_t pid, image::ProcessT& process);

// In the process that becomes the program: the limits that could keep it from being rebuilt (locked memory,
// queued signals, ...) are opened as far as they may; set_limits() gives them their final values.
void open_limits_for_building();

// From outside, once the program is built. A hard limit that may not be raised that far is lowered and noted.
void set_limits(const image::ProcessT& process, pid_t pid, std::vector<std::string>& notes);

}  // namespace ckpt::engine
