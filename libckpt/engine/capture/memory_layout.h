#pragma once

#include <sys/types.h>

#include "base/proc_stat.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// Fills process.layout: where the kernel believes code, data, heap, stack, arguments and environment to be
// (struct prctl_mm_map), from /proc/PID/stat fields 26..28 and 45..51 and /proc/PID/auxv; the end of the heap
// from brk(0). `process` must live until the queries have run.
void save_memory_layout(pid_t pid, const ProcStat& stat, RemoteQueries& queries, image::ProcessT& process);

}  // namespace ckpt::engine
