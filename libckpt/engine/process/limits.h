// Resource limits. The program sets them itself at the end of its rebuilding: from outside, a process of
// another user would be out of reach even for root without CAP_SYS_RESOURCE.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engine/restore/plan_builder.h"
#include "image_generated.h"

namespace ckpt::engine {

void save_limits(pid_t pid, image::ProcessT& process);

// In the process that becomes the program, while it has all privileges of this session: hard limits go up to
// where they have to be, and what could keep the program from being rebuilt (locked memory, queued signals,
// ...) is opened.
void open_limits_for_building(const image::ProcessT& process);

// The final values. A hard limit that this session may not raise that far is lowered and noted.
void plan_limits(const image::ProcessT& process, PlanBuilder& plan, std::vector<std::string>& notes);

// Text of /proc/PID/limits.
std::vector<image::ResourceLimitT> parse_proc_limits(std::string_view text);

}  // namespace ckpt::engine
