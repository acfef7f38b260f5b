// Interval timers (setitimer) and POSIX timers (timer_create). They go on with the time that was left.
#pragma once

#include <string>
#include <vector>

#include "engine/process/id_map.h"
#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// Armed ones only. `process` must live until the queries have run.
void save_interval_timers(RemoteQueries& queries, image::ProcessT& process);
void save_posix_timers(const Tracee& tracee, RemoteQueries& queries, image::ProcessT& process);

// Throws Error if this kernel cannot give timers their old ids.
void check_posix_timers(const image::ProcessT& process);

// Creation and arming are separate because arming belongs as late as possible.
void plan_create_timers(const image::ProcessT& process, const IdMap& ids, PlanBuilder& plan,
                        std::vector<std::string>& notes);
void plan_arm_timers(const image::ProcessT& process, PlanBuilder& plan);

// Text of /proc/PID/timers; times and overruns are not in it.
std::vector<image::PosixTimerT> parse_proc_timers(const std::string& text);

// The plan for kernels that hand out timer ids in order only (before Linux 6.16).
void plan_timers_by_counting(const image::ProcessT& process, const IdMap& ids, PlanBuilder& plan);

}  // namespace ckpt::engine
