// Restore, as the list of its stages (see ARCHITECTURE.md, "Life of a restore"). The process is built from
// outside: whatever fails, it is killed, and the checkpoint stays as it was.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "engine/agent_tables.h"
#include "engine/capture/host.h"
#include "engine/image/image_file.h"
#include "engine/process/memory_promises.h"
#include "engine/process/process_state.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/system_v.h"
#include "engine/restore/absolute_deadlines.h"
#include "engine/restore/address_space.h"
#include "engine/restore/fill_plan.h"
#include "engine/restore/lazy_fill.h"
#include "engine/restore/mapped_file_set.h"
#include "engine/restore/memory_fill.h"
#include "engine/restore/memory_plan.h"
#include "engine/restore/new_ids.h"
#include "engine/restore/new_process.h"
#include "engine/restore/puppet.h"
#include "engine/restore/puppet_program.h"
#include "engine/restore/reading_order.h"
#include "engine/restore/roll_back.h"
#include "engine/restore/watched_process.h"
#include "engine/session.h"
#include "engine/session_state.h"
#include "engine/tracee/arch/x86_64/extended_state.h"
#include "engine/tracee/arch/x86_64/register_image.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

using Clock = std::chrono::steady_clock;

struct IdTaken : Error {
  using Error::Error;
};

// Everything that the stages share.
class Restore {
 public:
  Restore(std::shared_ptr<const store::CheckpointReader> reader, const RestoreOptions& options)
      : shared_reader_(std::move(reader)),
        reader_(*shared_reader_),
        options_(options),
        sockets_(options.sockets),
        checkpoint_(unpack_image(reader_.image())),
        process_(*checkpoint_->process) {}

  Restored run();

 private:
  void check();
  void check_descriptors_and_outside();
  void prepare();
  SocketPolicy sockets_above(int base, std::vector<UniqueFd>& owners) const;
  void start_process();
  void build_mappings();
  void fill(RestoreTimes& times);
  void watch(const std::optional<UserFaults>& faults, FillPlan& plan) const;
  void fill_now(const FillPlan& plan, const std::vector<store::PageRun>& through, const UserFaults* faults);
  void fill_eagerly(FillPlan& plan);
  bool wants_lazy(const FillPlan& plan) const;
  void build(RestoreTimes& times);
  void finish();
  void complete();
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
  void release();
  std::int32_t current_tid(std::size_t index) const;
  PlanBuilder new_plan() const { return {area_.plan, area_.plan_data_offset}; }
  std::uint64_t stage_us();

  std::shared_ptr<const store::CheckpointReader> shared_reader_;
  const store::CheckpointReader& reader_;
  const RestoreOptions& options_;
  SocketPolicy sockets_;
  std::unique_ptr<image::CheckpointT> checkpoint_;
  image::ProcessT& process_;
  std::vector<std::string> notes_;
  NewProcess built_;
  std::optional<Puppet> puppet_;
  RestorerCode restorer_;
  WorkArea area_;
  std::optional<MappedFileSet> files_;
  std::vector<int> object_descriptors_;
  std::vector<UniqueFd> object_owners_;
  std::vector<MapEntry> present_;
  SpaceRuns runs_;  // of the program's private memory
  UniqueFd fault_device_;
  std::unique_ptr<LazyFill> lazy_fill_;
  int scratch_base_ = 0;
  IdMap ids_;
  Clock::time_point stage_started_ = Clock::now();
};

std::uint64_t Restore::stage_us() {
  auto now = Clock::now();
  auto spent = std::chrono::duration_cast<std::chrono::microseconds>(now - stage_started_).count();
  stage_started_ = now;
  return static_cast<std::uint64_t>(spent);
}

void Restore::check() {
  const image::HostT& host = *checkpoint_->host;
  if (vdso_digest() != VdsoDigest{host.vdso_digest_low, host.vdso_digest_high}) {
    throw Error(
        fmt::format("the checkpoint was made under another kernel ({}), whose vDSO differs; recover it there",
                    host.kernel));
  }
  detach_carried_files(process_);
  if (options_.roll_back_files) {
    for (std::string& line : roll_back_files(*checkpoint_, reader_, options_.version_name))
      notes_.push_back(std::move(line));
  }
  check_mapped_files(process_);
  make_missing_files(process_, reader_);  // some may be open as well, which comes next
  check_descriptors_and_outside();
  check_process_state(process_, notes_);
}

void Restore::check_descriptors_and_outside() {
  if (options_.look_outside) {
    SocketNeeds needs = socket_needs(*checkpoint_);
    check_descriptors(*checkpoint_, &notes_, &needs.lost_addresses);
    options_.look_outside(needs, sockets_);
  } else {
    check_descriptors(*checkpoint_, &notes_);
  }
  std::ranges::move(connection_notes(*checkpoint_, sockets_), std::back_inserter(notes_));
}

// The program's own file; the restorer's where that is gone, so that there is something to execute.
std::string program_file(const image::ProcessT& process, const RestorerCode& restorer,
                         std::vector<std::string>& notes) {
  std::error_code error;
  if (std::filesystem::exists(process.executable, error)) return process.executable;
  notes.push_back(
      fmt::format("program file {} is gone; /proc/self/exe will name {}", process.executable, restorer.path));
  return restorer.path;
}

void Restore::build_mappings() {
  puppet_.emplace(built_.spawned.pid);
  present_ = read_memory_map(puppet_->pid());
  area_ = choose_work_area(*checkpoint_, present_, restorer_.bytes.size());
  puppet_->place_executor(area_, restorer_);
  PlanBuilder plan = new_plan();
  plan_mappings({*checkpoint_, runs_.by_page, present_, area_, *files_, object_descriptors_}, plan);
  puppet_->run(plan, puppet_->pid());
  puppet_->forget_syscall_instruction();
}

void Restore::plan_descriptors(PlanBuilder& plan) {
  for (const auto& descriptor : process_.descriptors) {
    if (!descriptor->close_on_exec) continue;
    plan.expect(fmt::format("close-on-exec flag of descriptor {}", descriptor->number), SYS_fcntl,
                {static_cast<std::uint64_t>(descriptor->number), F_SETFD, FD_CLOEXEC}, 0);
  }
  plan.expect("close temporary descriptors", SYS_close_range,
              {static_cast<std::uint64_t>(scratch_base_), ~0U, 0}, 0);
}

void Restore::make_threads(PlanBuilder& plan) {
  constexpr std::uint64_t kFlags =
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  for (std::size_t i = 1; i < process_.threads.size(); ++i) {
    clone_args arguments{};
    arguments.flags = kFlags;
    if (built_.old_ids) {
      arguments.set_tid = plan.data_of(process_.threads[i]->tid).value;
      arguments.set_tid_size = 1;
    }
    std::uint64_t address = plan.data_of(arguments).value;
    plan.expect_success(fmt::format("make thread {}", process_.threads[i]->tid), SYS_clone3,
                        {address, sizeof(arguments)});
  }
}

// Another process may have been faster to take the id of a thread than this one.
void Restore::run_with_threads(const PlanBuilder& plan) {
  try {
    puppet_->run(plan, puppet_->pid());
  } catch (const Error& error) {
    if (error.code() != EEXIST || !built_.old_ids) throw;
    throw IdTaken(fmt::format("{}; use --pids namespace or --pids new", error.what()), EEXIST);
  }
}

void Restore::complete() {
  PlanBuilder plan = new_plan();
  plan_memory_completion({*checkpoint_, runs_.by_page, present_, area_, *files_, object_descriptors_}, plan);
  plan_memory_promises(process_, plan);
  plan_descriptors(plan);
  make_threads(plan);
  run_with_threads(plan);
  seal_objects(*checkpoint_, object_descriptors_);
  if (puppet_->threads().size() != process_.threads.size()) {
    throw Error(
        fmt::format("{} of {} threads could be made", puppet_->threads().size(), process_.threads.size()));
  }
}

std::int32_t Restore::current_tid(std::size_t index) const {
  return built_.old_ids ? process_.threads[index]->tid : static_cast<std::int32_t>(puppet_->threads()[index]);
}

void Restore::finish_descriptors_inside() {
  PuppetProgram program(*puppet_, area_.plan, process_, ids_);
  finish_descriptors(*checkpoint_, program, options_.locks, notes_, options_.file_locks);
  finish_system_v(*checkpoint_, program);
}

// The program gets new ids only where we are not in another pid namespace: outer and inner ids are the same.
void Restore::correct_ids() {
  if (built_.old_ids) return;
  for (std::size_t i = 0; i < process_.threads.size(); ++i) ids_[process_.threads[i]->tid] = current_tid(i);
  std::size_t mutexes = correct_ids_in_memory(puppet_->pid(), process_, ids_);
  notes_.push_back(
      fmt::format("the program has process id {} instead of {}, its threads have new ids too; held mutexes "
                  "that were told: "
                  "{}, those of other libraries than libc may still remember the old owner",
                  current_tid(0), process_.pid, mutexes));
}

void Restore::correct_deadlines() {
  if (!built_.clock_jump) return;
  std::size_t count = move_absolute_deadlines(puppet_->pid(), process_, *built_.clock_jump);
  if (count != 0) notes_.push_back(fmt::format("deadlines of waiting calls that were moved: {}", count));
}

// In an own user namespace the builder kept one capability across execve to make threads with old ids.
void Restore::give_up_capabilities(PlanBuilder& plan) {
  if (!built_.spawned.in_user_namespace) return;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> none{};
  plan.expect("drop ambient capabilities", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0}, 0);
  plan.expect("drop capabilities", SYS_capset, {plan.data_of(header).value, plan.data_of(none).value}, 0);
}

void Restore::restore_thread_states() {
  std::int32_t pid = current_tid(0);
  for (std::size_t i = process_.threads.size(); i-- > 0;) {
    PlanBuilder plan = new_plan();
    plan_thread_state(*process_.threads[i], pid, current_tid(i), plan, notes_);
    give_up_capabilities(plan);
    puppet_->run(plan, puppet_->threads()[i]);
  }
}

void Restore::restore_process_state() {
  PlanBuilder plan = new_plan();
  plan_process_state(process_, plan, notes_, ids_);
  puppet_->run(plan, puppet_->pid());
  apply_from_outside(process_, puppet_->pid(), notes_);
}

// What the executor's breakpoints and its memory were needed for is over: SIGTRAP's action and the work area
// go last.
void Restore::remove_restorer() {
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

void Restore::put_registers_back(InterruptedCalls& calls) {
  for (std::size_t i = 0; i < process_.threads.size(); ++i) {
    const image::ThreadT& thread = *process_.threads[i];
    pid_t tid = puppet_->threads()[i];
    user_regs_struct registers = arch::from_image(thread.registers);
    registers.orig_rax = ~0ULL;
    if (thread.timed_call) calls.adopt(tid, *thread.timed_call, registers);
    set_registers(tid, registers);
    arch::restore_extended_state(tid, thread.xsave);
    std::uint64_t mask = thread.signal_mask;
    if (::ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) != 0) {
      throw_errno(fmt::format("restore the signal mask of thread {}", thread.tid));
    }
  }
}

void Restore::release() {
  for (pid_t tid : puppet_->threads()) {
    if (::ptrace(PTRACE_DETACH, tid, nullptr, 0) != 0) throw_errno(fmt::format("release thread {}", tid));
  }
}

// What cannot be watched after all comes now, the plain way.
void Restore::watch(const std::optional<UserFaults>& faults, FillPlan& plan) const {
  for (const AddressSpan& span : plan.watched) {
    if (faults && faults->watch(span.start, span.end)) continue;
    std::uint64_t first = span.start / kPageSize;
    for (const MissingPiece& piece : plan.later.take(first, span.end / kPageSize - first))
      plan.now.push_back({.first_page = piece.source, .page_count = piece.page_count});
  }
}

// `through`: installed through `faults`, in mappings that are watched.
void Restore::fill_now(const FillPlan& plan, const std::vector<store::PageRun>& through,
                       const UserFaults* faults) {
  std::vector<FillPart> parts;
  add_parts(plan.now, process_.space, RemoteAddr{}, false, parts);
  add_parts(through, process_.space, RemoteAddr{}, true, parts);
  for (std::size_t i = 0; i < checkpoint_->objects.size(); ++i) {
    if (area_.objects[i].value == 0) continue;
    store::SpaceId space = checkpoint_->objects[i]->space;
    add_parts(reader_.runs(space), space, area_.objects[i], false, parts);
  }
  fill_memory(puppet_->pid(), reader_, parts, faults);
}

void Restore::fill_eagerly(FillPlan& plan) {
  std::optional<UserFaults> faults = take_filling_faults(*puppet_);
  watch(faults, plan);
  std::vector<store::PageRun> through;
  for (const MissingPiece& piece : plan.later.all())
    through.push_back({.first_page = piece.source, .page_count = piece.page_count});
  fill_now(plan, through, faults ? &*faults : nullptr);
}

// A search for ids reads all of the memory anyway; a few pages are there before the first would be missed.
bool Restore::wants_lazy(const FillPlan& plan) const {
  constexpr std::uint64_t kWorthWhile = (8 << 20) / kPageSize;
  if (options_.fill != FillPolicy::kAuto) return options_.fill == FillPolicy::kLazy;
  return built_.old_ids && plan.later.page_count() >= kWorthWhile;
}

void Restore::fill(RestoreTimes& times) {
  FillPlan plan = plan_fill(process_, runs_.by_page, FillTime::kLater);
  std::optional<UserFaults> faults;
  if (wants_lazy(plan)) faults = take_user_faults(*puppet_, fault_device_.get());
  for (const store::PageRun& run : runs_.by_page) times.pages_filled += run.page_count;
  if (!faults) {
    if (options_.fill == FillPolicy::kLazy) {
      notes_.emplace_back(
          "all memory was filled before the program ran: lazy restore needs userfaultfd with all events "
          "(CAP_SYS_PTRACE)");
    }
    plan = plan_fill(process_, runs_.by_page, FillTime::kNow);
    return fill_eagerly(plan);
  }
  watch(faults, plan);
  fill_now(plan, {}, nullptr);
  times.pages_to_come = plan.later.page_count();
  times.pages_filled -= times.pages_to_come;
  if (plan.later.empty()) return;
  lazy_fill_ = std::make_unique<LazyFill>(puppet_->pid(), LazyFillWork{.reader = shared_reader_,
                                                                       .space = process_.space,
                                                                       .faults = std::move(*faults),
                                                                       .missing = std::move(plan.later),
                                                                       .order = std::move(runs_.by_place),
                                                                       .directory = options_.directory});
}

void Restore::prepare() {
  check();
  runs_ = runs_of(reader_, process_.space);
  if (options_.is_copy) runs_.by_page = without_wiped(process_, runs_.by_page);
  restorer_ = load_restorer();
  scratch_base_ = first_free_descriptor(process_);
  restore_segments(*checkpoint_, reader_);
  object_descriptors_ = create_objects(*checkpoint_, reader_, scratch_base_);
  for (int fd : object_descriptors_) object_owners_.emplace_back(fd);
  files_.emplace(process_, scratch_base_);
  if (options_.fill != FillPolicy::kEager) fault_device_ = open_fault_device(scratch_base_);
}

// Whoever takes the numbers below the base must not meet the sockets that the caller has connected.
SocketPolicy Restore::sockets_above(int base, std::vector<UniqueFd>& owners) const {
  SocketPolicy policy = sockets_;
  for (auto& [inode, fd] : policy.reconnected) {
    owners.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, base));
    if (!owners.back()) throw_errno("move a connection that was made again");
    fd = owners.back().get();
  }
  return policy;
}

void Restore::start_process() {
  std::vector<int> kept = files_->descriptors();
  std::ranges::copy_if(object_descriptors_, std::back_inserter(kept), [](int fd) { return fd >= 0; });
  if (fault_device_) kept.push_back(fault_device_.get());
  std::vector<UniqueFd> lifted;
  SocketPolicy sockets = sockets_above(scratch_base_, lifted);
  built_ = start_new_process({.checkpoint = *checkpoint_,
                              .object_descriptors = object_descriptors_,
                              .kept_descriptors = kept,
                              .scratch_base = scratch_base_,
                              .program_file = program_file(process_, restorer_, notes_),
                              .pids = options_.pids,
                              .sockets = std::move(sockets)},
                             notes_);
}

void Restore::finish() {
  complete();
  correct_ids();
  finish_descriptors_inside();
  correct_deadlines();
  restore_thread_states();
  restore_process_state();
  remove_restorer();
}

void Restore::build(RestoreTimes& times) {
  times.descriptors_us = stage_us();
  build_mappings();
  times.mappings_us = stage_us();
  fill(times);
  times.fill_us = stage_us();
  finish();
}

Restored Restore::run() {
  auto started = Clock::now();
  RestoreTimes times;
  prepare();
  times.prepare_us = stage_us();
  start_process();
  try {
    build(times);
    Session session(puppet_->pid());
    put_registers_back(RestoreAccess::state(session).calls);
    RestoreAccess::state(session).agent_addresses = process_.agent_tables;
    if (options_.tell_program)
      options_.tell_program(puppet_->pid(), {puppet_->pid(), process_.agent_tables, {}});
    if (options_.before_release) options_.before_release(puppet_->pid());
    release();
    RestoreAccess::state(session).calls.released();
    RestoreAccess::state(session).fill = std::move(lazy_fill_);
    times.threads_us = stage_us();
    times.total_us = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started).count());
    if (options_.notes != nullptr) *options_.notes = notes_;
    return {.session = std::move(session), .namespace_init = built_.spawned.init, .times = times};
  } catch (...) {
    end_spawned(built_.spawned);
    // Then whatever else went wrong is its consequence.
    if (lazy_fill_ && lazy_fill_->done() && !lazy_fill_->report().failure.empty())
      throw Error(lazy_fill_->report().failure);
    throw;
  }
}

}  // namespace

Restored restore(std::shared_ptr<const store::CheckpointReader> reader, const RestoreOptions& options) {
  try {
    return Restore(reader, options).run();
  } catch (const IdTaken&) {
    if (options.pids != PidPolicy::kAuto) throw;
  }
  RestoreOptions in_namespace = options;
  in_namespace.pids = PidPolicy::kNamespace;
  return Restore(std::move(reader), in_namespace).run();
}

}  // namespace ckpt::engine
