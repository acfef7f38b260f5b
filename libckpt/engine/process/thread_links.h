// What the kernel keeps for a thread on behalf of its C library, its name, and its parent-death signal.
#pragma once

#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// `state` must live until the queries have run.
void save_thread_links(pid_t tid, RemoteQueries& queries, image::ThreadT& state);
void plan_thread_links(const image::ThreadT& thread, PlanBuilder& plan);

}  // namespace ckpt::engine
