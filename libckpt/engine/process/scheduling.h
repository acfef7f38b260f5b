// Scheduling of a thread: policy, nice, affinity, timer slack, I/O priority.
#pragma once

#include <string>
#include <vector>

#include "engine/restore/plan_builder.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

void save_scheduling(Tracee& tracee, StoppedThread& thread, image::ThreadT& state);

// Operations that the thread runs for itself. What this session may not give is noted and left at what it
// may.
void plan_scheduling(const image::ThreadT& thread, PlanBuilder& plan, std::vector<std::string>& notes);

}  // namespace ckpt::engine
