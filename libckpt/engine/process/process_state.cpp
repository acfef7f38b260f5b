#include "engine/process/process_state.h"

#include <algorithm>
#include <span>

#include "base/proc_stat.h"
#include "engine/capture/memory_layout.h"
#include "engine/process/attributes.h"
#include "engine/process/credentials.h"
#include "engine/process/family.h"
#include "engine/process/limits.h"
#include "engine/process/memory_promises.h"
#include "engine/process/proc_status.h"
#include "engine/process/scheduling.h"
#include "engine/process/signals.h"
#include "engine/process/speculation.h"
#include "engine/process/thread_links.h"
#include "engine/process/timers.h"

namespace ckpt::engine {

namespace {

std::vector<ProcStatus> read_statuses(const Tracee& tracee) {
  std::vector<ProcStatus> statuses;
  statuses.reserve(tracee.threads().size());
  for (const StoppedThread& thread : tracee.threads())
    statuses.push_back(ProcStatus::of_thread(tracee.thread_list(), thread.tid));
  return statuses;
}

// By who traces it.
void save_thread(const StoppedThread& thread, const ProcStatus& status, RemoteQueries& queries,
                 image::ThreadT& state) {
  save_thread_pending(status, thread.tid, state);
  save_thread_links(thread.tid, queries, state);
}

void look_at_thread(const StoppedThread& thread, const ProcStatus& status, RemoteQueries& queries,
                    image::ThreadT& state) {
  state.tid = status.innermost("NSpid");
  state.name = status.name();
  state.signal_mask = thread.signal_mask;
  save_alt_stack(queries, state);
  save_scheduling(thread.tid, queries, state);
  save_speculation(status, state);
}

}  // namespace

void SavedProcessState::look() {
  pid_t pid = tracee_.pid();
  statuses_ = read_statuses(tracee_);
  const ProcStatus& status = statuses_.front();
  ProcStat stat(pid);
  process_.exit_signal = static_cast<std::int32_t>(stat.exit_signal());
  for (StoppedThread& thread : tracee_.threads()) queries_.emplace_back(thread);
  RemoteQueries& queries = queries_.front();
  save_credentials(statuses_, own_, queries, process_);
  if (childless_) expect_no_children(queries);
  save_attributes(pid, status, queries, process_);
  save_limits(pid, process_);
  save_memory_layout(pid, stat, queries, process_);
  save_memory_promises(tracee_, queries, process_);
  save_signal_actions(status, queries, process_);
  save_interval_timers(queries, process_);
  save_posix_timers(tracee_, queries, process_);
  for (std::size_t i = 0; i < statuses_.size(); ++i) {
    process_.threads.push_back(std::make_unique<image::ThreadT>());
    look_at_thread(tracee_.threads()[i], statuses_[i], queries_[i], *process_.threads.back());
  }
}

// All system calls that the threads have to make for this are made in one go.
void SavedProcessState::ask() {
  save_process_pending(tracee_.pid(), statuses_.front(), process_);
  for (std::size_t i = 0; i < statuses_.size(); ++i)
    save_thread(tracee_.threads()[i], statuses_[i], queries_[i], *process_.threads[i]);
  under_way_.emplace(tracee_, queries_);
  under_way_->begin();
}

void save_process_state(Tracee& tracee, bool childless, image::ProcessT& process) {
  OwnCredentials own;
  SavedProcessState state(tracee, own, childless, process);
  tracee.scratch();
  state.look();
  state.ask();
  state.finish();
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

void plan_thread_state(const image::ProcessT& process, const image::ThreadT& thread, std::int32_t pid,
                       std::int32_t tid, PlanBuilder& plan, std::vector<std::string>& notes,
                       const IdMap& ids) {
  plan_thread_links(thread, plan);
  plan_alt_stack(thread, plan);
  plan_scheduling(thread, plan, notes);
  plan_speculation(thread, plan);
  plan_credentials(process, thread, plan);
  plan_thread_pending(thread, pid, tid, ids, plan);
}

void apply_from_outside(const image::ProcessT& process, pid_t pid, std::vector<std::string>& notes) {
  verify_attributes(process, pid, notes);
}

}  // namespace ckpt::engine
