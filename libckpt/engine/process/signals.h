// Signal handlers, pending signals and alternate stacks.
#pragma once

#include <memory>
#include <vector>

#include "engine/process/id_map.h"
#include "engine/process/proc_status.h"
#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// The kernel's struct sigaction.
struct KernelSigaction {
  std::uint64_t handler;
  std::uint64_t flags;
  std::uint64_t restorer;
  std::uint64_t mask;
};
static_assert(sizeof(KernelSigaction) == 32);

KernelSigaction kernel_sigaction(const image::SignalActionT& action);

// Actions that differ from the default. Where there are queries, what they fill must live until they have
// run.
void save_signal_actions(const ProcStatus& status, RemoteQueries& queries, image::ProcessT& process);
void save_process_pending(pid_t pid, const ProcStatus& status, image::ProcessT& process);
void save_thread_pending(const ProcStatus& status, pid_t tid, image::ThreadT& state);
void save_alt_stack(RemoteQueries& queries, image::ThreadT& state);

// In the process that becomes the program: what execve would pass on from us.
void reset_ignored_signals();

// All but that of SIGTRAP, which the restorer itself needs until its last instruction.
void plan_signal_actions(const image::ProcessT& process, PlanBuilder& plan);
void plan_process_pending(const image::ProcessT& process, const IdMap& ids, PlanBuilder& plan);
void plan_thread_pending(const image::ThreadT& thread, std::int32_t pid, std::int32_t tid, const IdMap& ids,
                         PlanBuilder& plan);
void plan_alt_stack(const image::ThreadT& thread, PlanBuilder& plan);

}  // namespace ckpt::engine
