#include "engine/process/process_state.h"

#include <algorithm>

#include "engine/process/attributes.h"
#include "engine/process/children.h"
#include "engine/process/credentials.h"
#include "engine/process/limits.h"
#include "engine/process/memory_promises.h"
#include "engine/process/proc_status.h"
#include "engine/process/scheduling.h"
#include "engine/process/signals.h"
#include "engine/process/thread_links.h"
#include "engine/process/timers.h"

namespace ckpt::engine {

void save_process_state(Tracee& tracee, image::ProcessT& process, std::vector<std::string>& /*notes*/) {
  refuse_children(tracee);
  ProcStatus status = ProcStatus::of_process(tracee.pid());
  save_credentials(tracee, status, process);
  save_attributes(tracee, status, process);
  save_limits(tracee.pid(), process);
  save_memory_promises(tracee, process);
  save_signal_actions(tracee, status, process);
  save_interval_timers(tracee, process);
  save_posix_timers(tracee, process);
  save_process_pending(tracee, status, process);
}

void save_thread_state(Tracee& tracee, StoppedThread& thread, image::ThreadT& state) {
  ProcStatus status = ProcStatus::of_thread(tracee.pid(), thread.tid);
  state.tid = status.innermost("NSpid");
  state.name = status.name();
  state.signal_mask = thread.signal_mask;
  save_thread_pending(status, thread.tid, state);
  save_alt_stack(tracee, thread, state);
  save_thread_links(tracee, thread, state);
  save_scheduling(tracee, thread, state);
}

void check_process_state(const image::ProcessT& process, std::vector<std::string>& notes) {
  check_attributes(process);
  check_credentials(process, notes);
  check_posix_timers(process);
}

void apply_before_exec(const image::ProcessT& process) {
  reset_ignored_signals();
  open_limits_for_building(process);
  apply_attributes(process);
  apply_credentials(process);
}

void plan_process_state(const image::ProcessT& process, PlanBuilder& plan, std::vector<std::string>& notes,
                        const IdMap& ids) {
  plan_attributes(process, plan);
  plan_signal_actions(process, plan);
  plan_create_timers(process, ids, plan, notes);
  plan_arm_timers(process, plan);
  plan_process_pending(process, ids, plan);
  // Last: the steps before may need more than the program was allowed.
  plan_limits(process, plan, notes);
}

std::optional<image::SignalActionT> trap_action(const image::ProcessT& process) {
  auto found = std::ranges::find_if(process.signal_actions,
                                    [](const auto& action) { return action->signal == SIGTRAP; });
  if (found == process.signal_actions.end()) return std::nullopt;
  return **found;
}

void plan_thread_state(const image::ThreadT& thread, std::int32_t pid, std::int32_t tid, PlanBuilder& plan,
                       std::vector<std::string>& notes) {
  plan_thread_links(thread, plan);
  plan_alt_stack(thread, plan);
  plan_scheduling(thread, plan, notes);
  plan_thread_pending(thread, pid, tid, plan);
}

void apply_from_outside(const image::ProcessT& process, pid_t pid, std::vector<std::string>& notes) {
  verify_attributes(process, pid, notes);
}

}  // namespace ckpt::engine
