#include "engine/capture/capture.h"

#include <fmt/format.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"
#include "base/proc_stat.h"
#include "engine/capture/embedded_files.h"
#include "engine/capture/host.h"
#include "engine/capture/pinned_writers.h"
#include "engine/capture/threads.h"
#include "engine/capture/tracee_program.h"
#include "engine/capture/written_files.h"
#include "engine/image/image_file.h"
#include "engine/process/proc_status.h"
#include "engine/process/process_state.h"
#include "engine/resource/aio_contexts.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/system_v.h"

namespace ckpt::engine {
namespace {

class StoppedCapture {
 public:
  explicit StoppedCapture(const CaptureContext& context) : context_(context) {}

  StoppedState run();

 private:
  void save_processes();
  void add_processes();
  void describe_relations();
  bool knows_of_stop(std::int32_t parent, std::int32_t stopped) const;
  void add_ended(const Relative& relative);
  void save_descriptors_and_ipc();
  void save_memory();
  void require_room_for_restore() const;
  SaveContext save_context(const ProcessContext& process, ProgramCalls& calls);
  pid_t parent_of(pid_t pid) const;
  std::int32_t inner_id_of(pid_t pid) const;
  bool has_been_in(const image::ProcessT& process, std::int32_t session) const;
  bool can_be_made_in(const image::ProcessT& process, std::int32_t session) const;
  void refuse_unreachable_session(const image::ProcessT& process) const;

  const CaptureContext& context_;
  StoppedState state_;
  std::vector<image::ProcessT*> processes_;
  ObjectTable objects_;
  PathStatuses paths_;
};

// Numbers of spaces mean something else in every version, except those of processes.
void drop_other_spaces(const CaptureContext& context) {
  for (store::SpaceId space : context.writer.parent_spaces()) {
    if (std::ranges::count(context.processes, space, &ProcessContext::space) == 0)
      context.writer.keep_only(space, {});
  }
}

struct SharedBetween {
  int kind;
  const char* what;
};

// Made by clone(2) with flags that no shell and no interpreter uses.
void refuse_shared(pid_t pid, pid_t parent) {
  constexpr std::array<SharedBetween, 3> kShared{
      {{KCMP_VM, "memory"}, {KCMP_FILES, "descriptors"}, {KCMP_FS, "working directory"}}};
  for (const SharedBetween& shared : kShared) {
    if (::syscall(SYS_kcmp, pid, parent, shared.kind, 0, 0) != 0) continue;
    throw Error(
        fmt::format("process {} has its {} in common with its parent {} (clone(2)), which cannot be carried "
                    "over; make the checkpoint when it has ended or executed a program",
                    pid, shared.what, parent));
  }
}

// One that a thread made for itself with unshare(2).
void refuse_own(const Tracee& tracee) {
  constexpr std::array<SharedBetween, 2> kOfAll{
      {{KCMP_FILES, "descriptors"}, {KCMP_FS, "working directory"}}};
  pid_t pid = tracee.pid();
  for (const StoppedThread& thread : tracee.threads()) {
    for (const SharedBetween& own : kOfAll) {
      if (thread.tid == pid || ::syscall(SYS_kcmp, pid, thread.tid, own.kind, 0, 0) == 0) continue;
      throw Error(
          fmt::format("thread {} of process {} has its {} for itself (unshare(2)), which cannot be carried "
                      "over; make the checkpoint when it has ended",
                      thread.tid, pid, own.what));
    }
  }
}

// The kernel forgets it when a program is executed, which is how a recover makes a process.
void refuse_other_exit_signal(const image::ProcessT& process) {
  if (process.exit_signal == SIGCHLD) return;
  throw Error(fmt::format(
      "process {} was made to tell its parent of its end by signal {} instead of SIGCHLD "
      "(clone(2)), which cannot be carried over; make the checkpoint when it has ended or executed "
      "a program",
      process.pid, process.exit_signal));
}

pid_t StoppedCapture::parent_of(pid_t pid) const {
  auto found = std::ranges::find(context_.relatives, pid, &Relative::pid);
  return found == context_.relatives.end() ? 0 : found->parent;
}

void StoppedCapture::add_processes() {
  for (const ProcessContext& context : context_.processes) {
    auto process = std::make_unique<image::ProcessT>();
    process->space = context.space;
    processes_.push_back(process.get());
    if (state_.checkpoint.process == nullptr) {
      state_.checkpoint.process = std::move(process);
    } else {
      state_.checkpoint.relatives.push_back(std::move(process));
    }
  }
}

// Step by step, each with all of them, so that none waits for the processor to get to another one.
void StoppedCapture::save_processes() {
  add_processes();
  bool childless = context_.relatives.empty();
  OwnCredentials own;
  std::vector<std::unique_ptr<SavedProcessState>> states;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    Tracee& tracee = context_.processes[i].tracee;
    tracee.begin_scratch();
    states.push_back(std::make_unique<SavedProcessState>(tracee, own, childless, *processes_[i]));
  }
  for (const ProcessContext& context : context_.processes) context.tracee.go_on();
  for (const ProcessContext& context : context_.processes) context.tracee.scratch();
  context_.threads.run(states.size(), [&states](std::size_t i) { states[i]->look(); });
  for (const auto& state : states) state->ask();
  for (const auto& state : states) state->await();
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    states[i]->finish();
    save_registers(context_.processes[i].tracee, context_.processes[i].calls, *processes_[i]);
  }
}

void StoppedCapture::add_ended(const Relative& relative) {
  auto process = std::make_unique<image::ProcessT>();
  ProcStatus status = ProcStatus::of_process(relative.pid);
  ProcStat stat(relative.pid);
  process->pid = status.innermost("NSpid");
  process->process_group = status.innermost("NSpgid");
  process->session = status.innermost("NSsid");
  process->ended = true;
  process->exit_status = static_cast<std::int32_t>(stat.exit_status());
  process->threads.push_back(std::make_unique<image::ThreadT>());
  process->threads.front()->tid = process->pid;
  process->threads.front()->name = status.name();
  process->exit_signal = static_cast<std::int32_t>(stat.exit_signal());
  state_.checkpoint.relatives.push_back(std::move(process));
}

// Whether `process` has been in `session` when it made its children: always, or before it began its own. An
// orphan can be put into any but that of ckptrun, if the program has left that.
bool StoppedCapture::has_been_in(const image::ProcessT& process, std::int32_t session) const {
  if (process.session == session) return true;
  if (process.session != process.pid) return false;
  return can_be_made_in(process, session);
}

bool StoppedCapture::can_be_made_in(const image::ProcessT& process, std::int32_t session) const {
  bool outside = session == 0 || session == ::getsid(0);
  if (&process == processes_.front()) return outside;
  auto parent = std::ranges::find(processes_, process.parent, &image::ProcessT::pid);
  if (parent != processes_.end()) return has_been_in(**parent, session);
  return !outside || session == processes_.front()->session;
}

void StoppedCapture::refuse_unreachable_session(const image::ProcessT& process) const {
  bool is_program = &process == processes_.front();
  if (is_program || process.session == process.pid || can_be_made_in(process, process.session)) return;
  throw Error(fmt::format(
      "process {} ({}) is in session {}, in which its parent has never been; such a process cannot be "
      "carried over, make the checkpoint when it has ended",
      process.pid, process.threads.front()->name, process.session));
}

// 0 is no process, of which nobody is a child.
std::int32_t StoppedCapture::inner_id_of(pid_t pid) const {
  if (pid == 0) return 0;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (context_.processes[i].tracee.pid() == pid) return processes_[i]->pid;
  }
  throw Error(fmt::format("process {} was killed while the checkpoint was made; make another", pid));
}

// Whether it has waited for it.
bool StoppedCapture::knows_of_stop(std::int32_t parent, std::int32_t stopped) const {
  auto found = std::ranges::find(processes_, parent, &image::ProcessT::pid);
  if (found == processes_.end()) return false;
  TraceeProgram program(context_.processes[static_cast<std::size_t>(found - processes_.begin())].tracee);
  siginfo_t info{};
  RemoteAddr address = program.place(std::as_bytes(std::span(&info, 1)));
  constexpr std::uint64_t kLook = WSTOPPED | WNOHANG | WNOWAIT | __WALL;
  if (program.call(SYS_waitid, {P_PID, static_cast<std::uint64_t>(stopped), address.value, kLook, 0}) != 0)
    return false;
  program.fetch(address, std::as_writable_bytes(std::span(&info, 1)));
  return info.si_pid == 0;
}

void StoppedCapture::describe_relations() {
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    Tracee& tracee = context_.processes[i].tracee;
    pid_t parent = parent_of(tracee.pid());
    processes_[i]->stopped = tracee.main_thread().group_stopped;
    processes_[i]->parent = inner_id_of(parent);
    if (parent != 0) refuse_shared(tracee.pid(), parent);
    processes_[i]->stop_reported =
        processes_[i]->stopped && knows_of_stop(processes_[i]->parent, processes_[i]->pid);
    refuse_own(tracee);
    refuse_other_exit_signal(*processes_[i]);
  }
  for (const image::ProcessT* process : processes_) refuse_unreachable_session(*process);
  for (const Relative& relative : context_.relatives) {
    // Those without a parent are the supervisor's to wait for.
    if (!relative.ended || relative.parent == 0) continue;
    add_ended(relative);
    state_.checkpoint.relatives.back()->parent = inner_id_of(relative.parent);
  }
}

SaveContext StoppedCapture::save_context(const ProcessContext& process, ProgramCalls& calls) {
  return {.pid = process.tracee.pid(),
          .writer = context_.writer,
          .objects = objects_,
          .notes = state_.notes,
          .files_to_sync = state_.files_to_sync,
          .calls = &calls,
          .opener = process.opener,
          .silenced = context_.silenced,
          .kept = &process.kept};
}

void StoppedCapture::save_descriptors_and_ipc() {
  std::vector<pid_t> pids;
  for (const ProcessContext& context : context_.processes) pids.push_back(context.tracee.pid());
  DescriptorCapture descriptors(
      pids, [this](std::size_t parts, const auto& work) { context_.threads.run(parts, work); });
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    TraceeProgram calls(context_.processes[i].tracee);
    SaveContext save = save_context(context_.processes[i], calls);
    bool has_ring = std::ranges::count(context_.processes[i].maps, kAioRingPath, &MapEntry::path) != 0;
    if (has_ring) save_aio_contexts(save, *processes_[i]);  // before connections are silenced
    descriptors.save(save, *processes_[i]);
  }
  save_system_v(pids, state_.checkpoint);
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    TraceeProgram calls(context_.processes[i].tracee);
    save_undo(processes_[i]->pid, calls, state_.checkpoint);
  }
  TraceeProgram calls(context_.processes.front().tracee);
  SaveContext save = save_context(context_.processes.front(), calls);
  descriptors.finish(save, *processes_.front());
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (context_.processes[i].tracker != nullptr && has_pinned_writers(*processes_[i]))
      throw Error("the program began to use an io_uring or AIO while the checkpoint was made; make another");
  }
}

// Of one process, several threads look at large mappings; of several, at several processes.
void StoppedCapture::save_memory() {
  PauseThreads* within = processes_.size() == 1 ? &context_.threads : nullptr;
  std::vector<std::unique_ptr<MemoryCapture>> captures;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    const ProcessContext& context = context_.processes[i];
    captures.push_back(std::make_unique<MemoryCapture>(context.tracee, context.flags, context_.identities,
                                                       paths_, objects_, context_.writer, context.tracker,
                                                       context.needs, within, context.known_content));
    captures.back()->describe(context.maps, context.kept, *processes_[i]);
  }
  state_.memories.resize(captures.size());
  auto find = [&](std::size_t i) { state_.memories[i] = captures[i]->find_pages(); };
  if (captures.size() == 1) return find(0);
  context_.threads.run(captures.size(), find);
}

// A restore opens everything above the numbers that the program has in use.
void StoppedCapture::require_room_for_restore() const {
  constexpr std::size_t kOthers = 32;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) throw_errno("read the limit on open files");
  for (const image::ProcessT* process : processes_) {
    if (process->descriptors.empty()) continue;
    std::int32_t highest = (*std::ranges::max_element(process->descriptors, {}, [](const auto& one) {
                             return one->number;
                           }))->number;
    std::size_t needed = processes_.front()->descriptions.size() + process->mapped_files.size() +
                         state_.checkpoint.objects.size() + kOthers;
    if (static_cast<rlim_t>(highest) + needed < limit.rlim_max) continue;
    throw Error(
        fmt::format("descriptor {} of process {} is so near the hard limit on open files, {}, that a recover "
                    "could not open "
                    "others above it; raise that limit, or start the program with a soft limit that is lower "
                    "(ulimit -Sn)",
                    highest, process->pid, limit.rlim_max));
  }
}

StoppedState StoppedCapture::run() {
  state_.checkpoint.format = kImageFormat;
  state_.checkpoint.host = describe_host(context_.cpu_baseline);
  state_.checkpoint.clocks = read_clocks(context_.processes.front().tracee.pid());
  save_processes();
  describe_relations();
  context_.clock.done("processes");
  drop_other_spaces(context_);
  save_descriptors_and_ipc();
  context_.clock.done("descriptors");
  save_memory();
  context_.clock.done("survey");
  if (context_.files != CarriedFiles::kNone) {
    TraceeProgram calls(context_.processes.front().tracee);
    SaveContext save = save_context(context_.processes.front(), calls);
    save_written_files(save, state_.checkpoint);
    if (context_.files == CarriedFiles::kAll) list_embedded_files(objects_, state_.checkpoint);
    context_.clock.done("files");
  }
  state_.checkpoint.objects = objects_.take();
  require_room_for_restore();
  return std::move(state_);
}

}  // namespace

std::vector<image::ProcessT*> StoppedState::running_processes() const {
  std::vector<image::ProcessT*> running{checkpoint.process.get()};
  for (const auto& relative : checkpoint.relatives) {
    if (!relative->ended) running.push_back(relative.get());
  }
  return running;
}

StoppedState capture_stopped(const CaptureContext& context) { return StoppedCapture(context).run(); }

}  // namespace ckpt::engine
