// The part of ProcessRestore that has processes made by forks of others (fork_again.h).
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "engine/restore/forked_descriptors.h"
#include "engine/restore/process_restore.h"

namespace ckpt::engine {
namespace {

// A plan has room for some thousands more than its mappings need.
constexpr std::size_t kDiscardedAtOnce = 8192;

// What builders do before execve, as far as it is not inherited.
void plan_attributes_of_fork(const image::ProcessT& process, PlanBuilder& plan) {
  if (process.session == process.pid) {
    plan.expect_success("start a new session", SYS_setsid, {});
  } else if (process.process_group == process.pid) {
    plan.expect("start a new process group", SYS_setpgid, {0, 0}, 0);
  }
  plan.expect("enter working directory " + process.working_directory, SYS_chdir,
              {plan.string(process.working_directory).value}, 0);
  plan.expect_success("umask", SYS_umask, {process.umask});
}

}  // namespace

void ProcessRestore::join_forks(MemberOrigin origin, std::vector<const image::ProcessT*> forks,
                                std::vector<store::PageRun> filled) {
  origin_ = std::move(origin);
  forks_ = std::move(forks);
  filled_ = std::move(filled);
}

pid_t ProcessRestore::fork_from(ProcessRestore& maker) try {
  std::int32_t id = setting_.built.old_ids ? process_.pid : 0;
  puppet_.emplace(maker.puppet_->fork(id, process_.exit_signal, maker.area_.plan));
  return puppet_->pid();
} catch (const Error& error) {
  if (error.code() != EEXIST || !setting_.built.old_ids) throw;
  throw IdTaken(fmt::format("{}; use --pids namespace or --pids new", error.what()), EEXIST);
}

// The executor is where its maker has it.
void ProcessRestore::become_fork(const ProcessRestore& maker) {
  area_ = maker.area_;
  present_ = read_memory_map(puppet_->pid());
  PlanBuilder plan = new_plan();
  plan_attributes_of_fork(process_, plan);
  plan_forked_descriptors(view_, setting_.description_numbers.all(), setting_.scratch_base, plan);
  plan_forked_mappings(memory_plan_input(), origin_.kept, plan);
  puppet_->run(plan, puppet_->pid());
  discard_others_pages();
}

void ProcessRestore::discard_others_pages() {
  for (std::size_t next = 0; next < origin_.discarded.size();) {
    PlanBuilder plan = new_plan();
    std::size_t end = std::min(origin_.discarded.size(), next + kDiscardedAtOnce);
    for (; next < end; ++next) {
      const AddressRange& range = origin_.discarded[next];
      plan.expect(fmt::format("discard {:x}-{:x}", range.start, range.end), SYS_madvise,
                  {range.start, range.size_bytes(), MADV_DONTNEED}, 0);
    }
    puppet_->run(plan, puppet_->pid());
  }
}

void ProcessRestore::fill_for_forks(RestoreTimes& times) {
  times.pages_shared += total_bytes(origin_.shared) / kPageSize;
  if (origin_.early.empty()) return;
  times.pages_filled += total_bytes(origin_.early) / kPageSize;
  FillPlan plan = plan_fill(process_, runs_of(origin_.early), FillTime::kNow);
  fill_eagerly(plan);
}

// What is not there yet.
std::vector<store::PageRun> ProcessRestore::missing_runs() const {
  AddressRanges there = unite(origin_.shared, origin_.early);
  if (there.empty()) return runs_.by_page;
  return runs_of(subtract(ranges_of(runs_.by_page), there));
}

}  // namespace ckpt::engine
