#include "engine/restore/process_restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <thread>

#include "base/error.h"
#include "engine/capture/host.h"
#include "engine/process/memory_promises.h"
#include "engine/process/proc_status.h"
#include "engine/process/process_state.h"
#include "engine/resource/aio_contexts.h"
#include "engine/resource/system_v.h"
#include "engine/restore/absolute_deadlines.h"
#include "engine/restore/address_space.h"
#include "engine/restore/awaited_ids.h"
#include "engine/restore/foreign_vdso.h"
#include "engine/restore/memory_fill.h"
#include "engine/restore/memory_plan.h"
#include "engine/restore/puppet_program.h"
#include "engine/restore/watched_process.h"
#include "engine/tracee/arch/x86_64/extended_state.h"
#include "engine/tracee/arch/x86_64/register_image.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

// The program's own file; the restorer's where that is gone, so that there is something to execute.
std::string program_file(const image::ProcessT& process, const RestorerCode& restorer,
                         std::vector<std::string>& notes) {
  std::error_code error;
  if (std::filesystem::exists(process.executable, error)) return process.executable;
  notes.push_back(
      fmt::format("program file {} is gone; /proc/self/exe will name {}", process.executable, restorer.path));
  return restorer.path;
}

constexpr std::chrono::seconds kLongestJobStop{5};

}  // namespace

ProcessRestore::ProcessRestore(RestoreSetting& setting, ProcessView view)
    : setting_(setting),
      reader_(*setting.reader),
      options_(setting.options),
      view_(std::move(view)),
      checkpoint_(view_.checkpoint),
      process_(*checkpoint_.process),
      notes_(setting.notes) {}

void ProcessRestore::read_runs() {
  runs_ = runs_of(reader_, process_.space);
  if (options_.is_copy) runs_.by_page = without_wiped(process_, runs_.by_page);
  filled_ = runs_.by_page;
}

void ProcessRestore::open_files() { files_.emplace(process_, setting_.scratch_base, &reader_); }

NewMember ProcessRestore::member() {
  std::vector<int> kept = files_->descriptors();
  std::ranges::copy_if(setting_.object_descriptors, std::back_inserter(kept), [](int fd) { return fd >= 0; });
  if (setting_.fault_device) kept.push_back(setting_.fault_device.get());
  return {.view = view_,
          .kept_descriptors = std::move(kept),
          .program_file = program_file(process_, setting_.restorer, notes_)};
}

void ProcessRestore::build_mappings(pid_t pid) {
  puppet_.emplace(pid);
  present_ = read_memory_map(puppet_->pid());
  area_ = choose_work_area(checkpoint_, present_, setting_.restorer.bytes.size(), forks_);
  puppet_->place_executor(area_, setting_.restorer);
  PlanBuilder plan = new_plan();
  std::uint64_t vdso_place = setting_.has_foreign_vdso ? place_of_vdso() : 0;
  plan_mappings(memory_plan_input(vdso_place), plan);
  puppet_->run(plan, puppet_->pid());
  puppet_->forget_syscall_instruction();
  if (vdso_place != 0) redirect_old_vdso(vdso_place);
}

MemoryPlanInput ProcessRestore::memory_plan_input(std::uint64_t vdso_place) const {
  return {checkpoint_, filled_, present_, area_, *files_, setting_.object_descriptors, vdso_place};
}

std::uint64_t ProcessRestore::place_of_vdso() const {
  std::uint64_t size_bytes = 0;
  for (const MapEntry& entry : present_) {
    if (is_vdso_or_data(entry)) size_bytes += entry.size_bytes();
  }
  return choose_distant_place(checkpoint_, present_, area_, size_bytes);
}

void ProcessRestore::redirect_old_vdso(std::uint64_t place) const {
  for (const MapEntry& entry : present_) {
    if (entry.path == "[vdso]") break;
    if (is_vdso_or_data(entry)) place += entry.size_bytes();
  }
  std::span<const std::uint8_t> old = checkpoint_.host->vdso;
  for (const auto& mapping : process_.mappings) {
    if (mapping->kind == image::MappingKind::Vdso)
      write_remote(puppet_->pid(), RemoteAddr{mapping->start},
                   redirect_vdso(std::as_bytes(old), vdso_here(), place));
  }
}

// What cannot be watched after all comes now, the plain way.
void ProcessRestore::watch(const std::optional<UserFaults>& faults, FillPlan& plan) const {
  for (const AddressSpan& span : plan.watched) {
    if (faults && faults->watch(span.start, span.end)) continue;
    std::uint64_t first = span.start / kPageSize;
    for (const MissingPiece& piece : plan.later.take(first, span.end / kPageSize - first))
      plan.now.push_back({.first_page = piece.source, .page_count = piece.page_count});
  }
}

// `through`: installed through `faults`, in mappings that are watched.
void ProcessRestore::fill_now(const FillPlan& plan, const std::vector<store::PageRun>& through,
                              const UserFaults* faults) {
  std::vector<FillPart> parts;
  add_parts(plan.now, process_.space, RemoteAddr{}, false, parts);
  add_parts(through, process_.space, RemoteAddr{}, true, parts);
  for (std::size_t i = 0; i < checkpoint_.objects.size(); ++i) {
    if (area_.objects[i].value == 0) continue;
    store::SpaceId space = checkpoint_.objects[i]->space;
    add_parts(reader_.runs(space), space, area_.objects[i], false, parts);
  }
  fill_memory(puppet_->pid(), reader_, parts, faults);
}

void ProcessRestore::fill_eagerly(FillPlan& plan) {
  std::optional<UserFaults> faults = take_filling_faults(*puppet_);
  watch(faults, plan);
  std::vector<store::PageRun> through;
  for (const MissingPiece& piece : plan.later.all())
    through.push_back({.first_page = piece.source, .page_count = piece.page_count});
  fill_now(plan, through, faults ? &*faults : nullptr);
}

// A search for ids reads all of the memory anyway; a few pages are there before the first would be missed.
bool ProcessRestore::wants_lazy(const FillPlan& plan) const {
  if (options_.limited) return is_limited();
  constexpr std::uint64_t kWorthWhile = (8 << 20) / kPageSize;
  if (options_.fill != FillPolicy::kAuto) return options_.fill == FillPolicy::kLazy;
  return setting_.built.old_ids && plan.later.page_count() >= kWorthWhile;
}

// The others have all of their memory.
bool ProcessRestore::is_limited() const { return options_.limited && process_.pid == view_.program_id; }

std::optional<LazyMemory> ProcessRestore::fill(RestoreTimes& times) {
  std::vector<store::PageRun> runs = missing_runs();
  FillPlan plan = plan_fill(process_, runs, FillTime::kLater);
  std::optional<UserFaults> faults;
  if (wants_lazy(plan))
    faults = take_user_faults(*puppet_, setting_.fault_device.get(),
                              is_limited() ? Watching::kFaultsAndWrites : Watching::kFaults);
  if (is_limited() && !faults)
    throw Error("a limit of memory needs userfaultfd with all events (CAP_SYS_PTRACE)");
  for (const store::PageRun& run : runs) times.pages_filled += run.page_count;
  if (!faults) {
    if (options_.fill == FillPolicy::kLazy && process_.pid == view_.program_id) {
      notes_.emplace_back(
          "all memory was filled before the program ran: lazy restore needs userfaultfd with all events "
          "(CAP_SYS_PTRACE)");
    }
    plan = plan_fill(process_, runs, FillTime::kNow);
    fill_eagerly(plan);
    return std::nullopt;
  }
  watch(faults, plan);
  fill_now(plan, {}, nullptr);
  std::uint64_t to_come = plan.later.page_count();
  times.pages_to_come += to_come;
  times.pages_filled -= to_come;
  if (to_come == 0 && !is_limited()) return std::nullopt;
  return LazyMemory{.pid = puppet_->pid(),
                    .space = process_.space,
                    .faults = std::move(*faults),
                    .missing = std::move(plan.later),
                    .order = std::move(runs_.by_place)};
}

void ProcessRestore::plan_descriptors(PlanBuilder& plan) {
  for (const auto& descriptor : process_.descriptors) {
    if (!descriptor->close_on_exec) continue;
    plan.expect(fmt::format("close-on-exec flag of descriptor {}", descriptor->number), SYS_fcntl,
                {static_cast<std::uint64_t>(descriptor->number), F_SETFD, FD_CLOEXEC}, 0);
  }
  plan.expect("close temporary descriptors", SYS_close_range,
              {static_cast<std::uint64_t>(setting_.scratch_base), ~0U, 0}, 0);
}

void ProcessRestore::make_threads(PlanBuilder& plan) {
  constexpr std::uint64_t kFlags =
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  for (std::size_t i = 1; i < process_.threads.size(); ++i) {
    clone_args arguments{};
    arguments.flags = kFlags;
    if (setting_.built.old_ids) {
      arguments.set_tid = plan.data_of(process_.threads[i]->tid).value;
      arguments.set_tid_size = 1;
    }
    std::uint64_t address = plan.data_of(arguments).value;
    plan.expect_success(fmt::format("make thread {}", process_.threads[i]->tid), SYS_clone3,
                        {address, sizeof(arguments)});
  }
}

// Another process may have been faster to take the id of a thread than this one.
void ProcessRestore::run_with_threads(const PlanBuilder& plan) {
  try {
    puppet_->run(plan, puppet_->pid());
  } catch (const Error& error) {
    if (error.code() != EEXIST || !setting_.built.old_ids) throw;
    throw IdTaken(fmt::format("{}; use --pids namespace or --pids new", error.what()), EEXIST);
  }
}

void ProcessRestore::complete() {
  PlanBuilder plan = new_plan();
  plan_memory_completion(memory_plan_input(), plan);
  plan_memory_promises(process_, plan);
  plan_descriptors(plan);
  make_threads(plan);
  run_with_threads(plan);
  if (puppet_->threads().size() != process_.threads.size()) {
    throw Error(
        fmt::format("{} of {} threads could be made", puppet_->threads().size(), process_.threads.size()));
  }
}

std::int32_t ProcessRestore::current_tid(std::size_t index) const {
  return setting_.built.old_ids ? process_.threads[index]->tid
                                : static_cast<std::int32_t>(puppet_->threads()[index]);
}

void ProcessRestore::finish_descriptors_inside() {
  PuppetProgram program(*puppet_, area_.plan, process_, setting_.ids);
  finish_descriptors(view_, program, options_.locks, notes_, options_.file_locks);
  if (process_.pid == view_.program_id) {
    finish_system_v(checkpoint_, program);
  } else {
    finish_undo(checkpoint_, process_.pid, program);
  }
  finish_aio_contexts(checkpoint_, program);
}

// New ids only come where we are not in another pid namespace: outer and inner ids are the same.
void ProcessRestore::tell_ids(IdMap& ids) const {
  for (std::size_t i = 0; i < process_.threads.size(); ++i) ids[process_.threads[i]->tid] = current_tid(i);
}

void ProcessRestore::correct_ids() {
  if (setting_.built.old_ids) return;
  correct_ids_in_memory(puppet_->pid(), process_, setting_.ids, setting_.corrected_words);
  correct_awaited_ids(puppet_->pid(), process_, setting_.ids);
}

void ProcessRestore::correct_deadlines() {
  if (!setting_.built.clock_jump) return;
  std::size_t count = move_absolute_deadlines(puppet_->pid(), process_, *setting_.built.clock_jump);
  if (count != 0) notes_.push_back(fmt::format("deadlines of waiting calls that were moved: {}", count));
}

// In an own user namespace the builder kept one capability across execve to make threads with old ids.
void ProcessRestore::give_up_capabilities(PlanBuilder& plan) {
  if (!setting_.built.spawned.in_user_namespace) return;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> none{};
  plan.expect("drop ambient capabilities", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0}, 0);
  plan.expect("drop capabilities", SYS_capset, {plan.data_of(header).value, plan.data_of(none).value}, 0);
}

void ProcessRestore::restore_thread_states() {
  std::int32_t pid = current_tid(0);
  for (std::size_t i = process_.threads.size(); i-- > 0;) {
    PlanBuilder plan = new_plan();
    plan_thread_state(process_, *process_.threads[i], pid, current_tid(i), plan, notes_, setting_.ids);
    give_up_capabilities(plan);
    puppet_->run(plan, puppet_->threads()[i]);
  }
}

void ProcessRestore::restore_process_state() {
  PlanBuilder plan = new_plan();
  plan_process_state(process_, plan, notes_, setting_.ids);
  puppet_->run(plan, puppet_->pid());
  apply_from_outside(process_, puppet_->pid(), notes_);
}

// What the executor's breakpoints and its memory were needed for is over: SIGTRAP's action and the work area
// go last.
void ProcessRestore::remove_restorer() {
  if (std::optional<image::SignalActionT> trap = trap_action(process_)) {
    struct KernelAction {
      std::uint64_t handler, flags, restorer, mask;
    } action{trap->handler, trap->flags, trap->restorer, trap->mask};
    write_remote(puppet_->pid(), area_.plan, std::as_bytes(std::span(&action, 1)));
    std::int64_t result = puppet_->call(SYS_rt_sigaction, {SIGTRAP, area_.plan.value, 0, 8});
    if (result != 0) throw_errno("restore the action of SIGTRAP", static_cast<int>(-result));
  }
  std::int64_t result = puppet_->call(SYS_munmap, {area_.start.value, area_.size_bytes});
  if (result != 0) throw_errno("remove the work area", static_cast<int>(-result));
}

void ProcessRestore::finish() {
  correct_ids();
  finish_descriptors_inside();
  correct_deadlines();
  restore_thread_states();
  restore_process_state();
}

// The signal of a child that stops is sent to whoever has a handler for it, and the program has had its own.
void ProcessRestore::discard_news_of(const image::ProcessT& stopped) {
  PuppetProgram program(*puppet_, area_.plan, process_, setting_.ids);
  if (stopped.stop_reported) {
    auto id = static_cast<std::uint64_t>(program.current_tid(stopped.pid));
    program.call(SYS_waitid, {P_PID, id, 0, WSTOPPED | WNOHANG, 0});
  }
  auto is_news = [](const auto& signal) {
    std::int32_t number = 0;
    std::memcpy(&number, signal->info.data(), std::min(sizeof number, signal->info.size()));
    return number == SIGCHLD;
  };
  if (std::ranges::any_of(process_.pending, is_news)) return;
  struct {
    std::uint64_t signals = 1ULL << (SIGCHLD - 1);
    timespec timeout{};
  } arguments;
  RemoteAddr address = program.place(std::as_bytes(std::span(&arguments, 1)));
  program.call(SYS_rt_sigtimedwait, {address.value, 0, address.value + offsetof(decltype(arguments), timeout),
                                     sizeof(std::uint64_t)});
}

void ProcessRestore::leave(InterruptedCalls& calls) {
  remove_restorer();
  put_registers_back(calls);
}

void ProcessRestore::await_job_stop() const {
  auto deadline = std::chrono::steady_clock::now() + kLongestJobStop;
  while (!ProcStatus::of_process(puppet_->pid()).text("State").starts_with('T')) {
    if (std::chrono::steady_clock::now() > deadline)
      throw Error(fmt::format("process {}, which was stopped, did not stop again", process_.pid));
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

void ProcessRestore::put_registers_back(InterruptedCalls& calls) {
  for (std::size_t i = 0; i < process_.threads.size(); ++i) {
    const image::ThreadT& thread = *process_.threads[i];
    pid_t tid = puppet_->threads()[i];
    user_regs_struct registers = arch::from_image(thread.registers);
    registers.orig_rax = ~0ULL;
    if (thread.timed_call) calls.adopt(tid, *thread.timed_call, registers);
    set_registers(tid, registers);
    arch::restore_extended_state(tid, thread.xsave, options_.force_cpu);
    set_signal_mask(tid, thread.signal_mask);
  }
}

// What waits for it is delivered before a stop is (signal numbers decide, and a fatal one ends it), so that
// nothing but SIGSTOP may be until it has stopped.
void ProcessRestore::stop_again() {
  for (pid_t tid : puppet_->threads()) set_signal_mask(tid, ~0ULL);
  if (::kill(puppet_->pid(), SIGSTOP) != 0) throw_errno("stop a process that was stopped");
  bool killed = false;
  for (pid_t tid : puppet_->threads()) killed = !detach(tid) || killed;
  if (killed) return reap_killed(puppet_->pid(), puppet_->threads());
  await_job_stop();
  for (std::size_t i = 0; i < process_.threads.size(); ++i) {
    pid_t tid = puppet_->threads()[i];
    if (::ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) throw_errno(fmt::format("seize thread {}", tid));
    std::optional<Stop> stop =
        wait_for_stop(puppet_->pid(), tid, std::chrono::steady_clock::now() + kLongestJobStop);
    if (!stop || stop->ended) throw Error("a process that was stopped was killed before it could go on");
    set_signal_mask(tid, process_.threads[i]->signal_mask);
    detach(tid);
  }
}

// False if it was killed.
bool ProcessRestore::detach(pid_t tid) const {
  if (::ptrace(PTRACE_DETACH, tid, nullptr, 0) == 0) return true;
  if (errno != ESRCH) throw_errno(fmt::format("release thread {}", tid));
  return false;
}

bool ProcessRestore::release_keeper() {
  if (process_.keeper_thread == 0) return false;
  for (std::size_t i = 0; i < process_.threads.size(); ++i) {
    if (process_.threads[i]->tid != process_.keeper_thread) continue;
    keeper_ = puppet_->threads()[i];
    if (!detach(keeper_)) throw Error("the program was killed before it could go on");
  }
  return keeper_ != 0;
}

void ProcessRestore::release() {
  if (stays_stopped()) return stop_again();
  // Those that go first may end the process, or kill another one.
  bool killed = false;
  for (pid_t tid : puppet_->threads()) {
    if (tid != keeper_ && !detach(tid)) killed = true;
  }
  if (killed) reap_killed(puppet_->pid(), puppet_->threads());
}

}  // namespace ckpt::engine
