// What the program once asked of the kernel for all of its address space, and relies on since: barriers in
// all its threads (membarrier), later mappings locked in memory (mlockall). Neither survives execve, and both
// belong to the process, so that they are asked for again, once, before there are other threads.
#pragma once

#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// `tracee` and `process` must live until the queries have run; they throw Error for segments of the program's
// own (modify_ldt), which cannot be rebuilt.
void save_memory_promises(Tracee& tracee, RemoteQueries& queries, image::ProcessT& process);

// After all mappings are in place: those that the plan makes must not be locked.
void plan_memory_promises(const image::ProcessT& process, PlanBuilder& plan);

// Throws Error if the protection keys of `process`, whose mappings are known, could not be given out again.
void refuse_key_out_of_order(const image::ProcessT& process);

}  // namespace ckpt::engine
