// What the processor offers to programs. A program may have asked at its start and use all of it ever since,
// so a checkpoint goes on only where nothing is missing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "image_generated.h"

namespace ckpt::engine {

// Instruction sets among the "flags" of /proc/cpuinfo, as the kernel names them, sorted. What only the kernel
// uses (paging, virtualisation, mitigations) is left out.
std::vector<std::string> instruction_sets(std::string_view flags);

// Those of this machine; read once.
const std::vector<std::string>& instruction_sets_here();

// Throws Error naming what the machine of the checkpoint had and this one lacks; with `force`, that is a line
// in `notes` instead. Checkpoints of versions that did not record it pass.
void check_processor(const image::HostT& host, bool force, std::vector<std::string>& notes);

}  // namespace ckpt::engine
