// One process of the program being rebuilt, from the moment that its program file has been executed: the
// stages of restore() that each process goes through by itself.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/process/id_map.h"
#include "engine/resource/descriptors.h"
#include "engine/restore/fill_plan.h"
#include "engine/restore/fork_again.h"
#include "engine/restore/lazy_fill.h"
#include "engine/restore/mapped_file_set.h"
#include "engine/restore/memory_plan.h"
#include "engine/restore/new_ids.h"
#include "engine/restore/new_process.h"
#include "engine/restore/puppet.h"
#include "engine/restore/reading_order.h"
#include "engine/restore/shared_numbers.h"
#include "engine/restore/user_faults.h"
#include "engine/session.h"
#include "engine/tracee/interrupted_calls.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// What all processes of a restore share; outlives them.
struct RestoreSetting {
  std::shared_ptr<const store::CheckpointReader> reader;
  const RestoreOptions& options;
  RestorerCode restorer = {};
  std::vector<int> object_descriptors = {};  // parallel to Checkpoint.objects
  int scratch_base = 0;
  UniqueFd fault_device = {};
  bool has_relatives = false;
  bool has_foreign_vdso = false;
  SharedNumbers description_numbers = {};  // where those have the descriptions who fork others
  NewProcess built = {};
  IdMap ids =
      {};  // where the old ones could not be had: of all processes, their threads, groups and sessions
  CorrectedWords corrected_words = {};
  std::vector<std::string> notes = {};
};

// Another process has got the id of a thread meanwhile.
struct IdTaken : Error {
  using Error::Error;
};

class ProcessRestore {
 public:
  // `checkpoint`: with this process as its `process`.
  ProcessRestore(RestoreSetting& setting, ProcessView view);

  image::ProcessT& process() { return process_; }
  const ProcessView& view() const { return view_; }

  // In the order of the calls:
  void read_runs();
  // `origin`: how its memory comes to be; `forks`: all that are going to be forked from it, and their forks;
  // `filled`: pages of any of those whom a builder's process forks, itself included. Only where there are
  // forks.
  void join_forks(MemberOrigin origin, std::vector<const image::ProcessT*> forks,
                  std::vector<store::PageRun> filled);
  void open_files();
  NewMember member();
  void build_mappings(pid_t pid);
  // In place of build_mappings(), of one that is made by a fork of `maker`: the fork, and what comes after
  // it.
  pid_t fork_from(ProcessRestore& maker);
  void become_fork(const ProcessRestore& maker);
  // What its forks have in common with it, before they are made.
  void fill_for_forks(RestoreTimes& times);
  // The memory that is to come while it runs.
  std::optional<LazyMemory> fill(RestoreTimes& times);
  void complete();
  // To `ids`: those of the threads, after complete().
  void tell_ids(IdMap& ids) const;
  // When `ids` of the setting is complete.
  void finish();
  // Only for the parent of one that release() has stopped: what it was told of that.
  void discard_news_of(const image::ProcessT& stopped);
  void leave(InterruptedCalls& calls);
  // Before release(): the thread that brings back what is kept elsewhere (ckpt/keeper.h), if there is one.
  bool release_keeper();
  void release();

  pid_t pid() const { return puppet_->pid(); }
  // One of the program's relatives that was stopped by job control. (The program itself runs: who recovers it
  // wants that.)
  bool stays_stopped() const { return process_.stopped && process_.pid != view_.program_id; }

 private:
  std::uint64_t place_of_vdso() const;
  void redirect_old_vdso(std::uint64_t place) const;
  void watch(const std::optional<UserFaults>& faults, FillPlan& plan) const;
  void fill_now(const FillPlan& plan, const std::vector<store::PageRun>& through, const UserFaults* faults);
  void fill_eagerly(FillPlan& plan);
  bool wants_lazy(const FillPlan& plan) const;
  bool is_limited() const;
  bool detach(pid_t tid) const;
  void run_with_threads(const PlanBuilder& plan);
  void make_threads(PlanBuilder& plan);
  void plan_descriptors(PlanBuilder& plan);
  void restore_thread_states();
  void give_up_capabilities(PlanBuilder& plan);
  void finish_descriptors_inside();
  void correct_ids();
  void correct_deadlines();
  void restore_process_state();
  void remove_restorer();
  void put_registers_back(InterruptedCalls& calls);
  void await_job_stop() const;
  void stop_again();
  std::int32_t current_tid(std::size_t index) const;
  std::vector<store::PageRun> missing_runs() const;
  MemoryPlanInput memory_plan_input(std::uint64_t vdso_place = 0) const;
  void discard_others_pages();
  PlanBuilder new_plan() const { return {area_.plan, area_.plan_data_offset}; }

  RestoreSetting& setting_;
  const store::CheckpointReader& reader_;
  const RestoreOptions& options_;
  ProcessView view_;
  const image::CheckpointT& checkpoint_;
  image::ProcessT& process_;
  std::vector<std::string>& notes_;
  std::optional<Puppet> puppet_;
  pid_t keeper_ = 0;  // has been released
  WorkArea area_;
  std::optional<MappedFileSet> files_;
  std::vector<MapEntry> present_;
  SpaceRuns runs_;  // of the private memory
  MemberOrigin origin_;
  std::vector<const image::ProcessT*> forks_;  // its own, and theirs
  std::vector<store::PageRun> filled_;         // decide which mappings are open for writing meanwhile
};

}  // namespace ckpt::engine
