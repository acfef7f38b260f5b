// What is left of a process: its ids, program file, directories, umask, personality, and flags set with
// prctl.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engine/process/proc_status.h"
#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// `process` must live until the queries have run.
void save_attributes(pid_t pid, const ProcStatus& status, RemoteQueries& queries, image::ProcessT& process);

// Throws Error for a missing working directory, another root directory, a set-uid program file.
void check_attributes(const image::ProcessT& process);

// In the process that becomes the program: starts the session that it leads, if it does and has not done so
// yet.
void lead_session(const image::ProcessT& process);

// Likewise: all of it that survives execve.
void apply_attributes(const image::ProcessT& process);

// The rest, for the main thread of the rebuilt program.
void plan_attributes(const image::ProcessT& process, PlanBuilder& plan);

// From outside: says what apply_attributes() was not allowed to set.
void verify_attributes(const image::ProcessT& process, pid_t pid, std::vector<std::string>& notes);

}  // namespace ckpt::engine
