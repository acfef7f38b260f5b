// Scheduling of a thread: policy, nice, affinity, timer slack, I/O priority.
#pragma once

#include <string>
#include <vector>

#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// `state` must live until the queries have run.
void save_scheduling(pid_t tid, RemoteQueries& queries, image::ThreadT& state);

// Operations that the thread runs for itself. What this session may not give is noted and left at what it
// may.
void plan_scheduling(const image::ThreadT& thread, PlanBuilder& plan, std::vector<std::string>& notes);

}  // namespace ckpt::engine
