// Restore, as the list of its stages (see ARCHITECTURE.md, "Life of a restore"). The processes are built from
// outside: whatever fails, they are killed, and the checkpoint stays as it was. What a process goes through
// by itself is in process_restore.h.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <set>

#include "base/error.h"
#include "base/list_text.h"
#include "base/proc_stat.h"
#include "engine/agent_tables.h"
#include "engine/capture/host.h"
#include "engine/capture/processor.h"
#include "engine/image/image_file.h"
#include "engine/keeper.h"
#include "engine/process/process_state.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/system_v.h"
#include "engine/restore/changed_files.h"
#include "engine/restore/common_memory.h"
#include "engine/restore/embedded_files.h"
#include "engine/restore/foreign_vdso.h"
#include "engine/restore/fork_again.h"
#include "engine/restore/kept_memory.h"
#include "engine/restore/new_process.h"
#include "engine/restore/path_changes.h"
#include "engine/restore/process_restore.h"
#include "engine/restore/roll_back.h"
#include "engine/restore/seen_ids.h"
#include "engine/restore/watched_process.h"
#include "engine/session.h"
#include "engine/session_state.h"

namespace ckpt::engine {
namespace {

using Clock = std::chrono::steady_clock;

AddressRanges content_of(const std::vector<store::StoredRun>& pages) {
  AddressRanges content;
  for (const store::StoredRun& run : pages) append(content, range_of(run.run));
  return content;
}

// Everything that the stages share.
class Restore {
 public:
  Restore(std::shared_ptr<const store::CheckpointReader> reader, const RestoreOptions& options);

  Restored run();

 private:
  void add_relatives();
  void share_memory_files();
  void check();
  void check_descriptors_and_outside();
  void prepare();
  void plan_forks_again();
  void join_forks(const std::vector<std::vector<store::StoredRun>>& pages);
  void note_common_memory(const std::vector<std::vector<store::StoredRun>>& pages);
  SocketPolicy sockets_above(int base, std::vector<UniqueFd>& owners) const;
  std::vector<NewMember> new_members();
  void start_processes();
  void make_all(RestoreTimes& times);
  void build(RestoreTimes& times);
  void fill(RestoreTimes& times);
  void learn_ids();
  void keep_ids_that_are_seen();
  void leave_stopped(Session::State& state);
  std::optional<Keeper> release_keeper(const Session::State& state);
  void release(Session& session);
  Session hand_over();
  std::uint64_t stage_us();

  RestoreSetting setting_;
  const store::CheckpointReader& reader_;
  const RestoreOptions& options_;
  SocketPolicy sockets_;
  std::unique_ptr<image::CheckpointT> checkpoint_;
  std::vector<std::unique_ptr<image::CheckpointT>> parts_;  // of the relatives, each as its `process`
  std::vector<std::unique_ptr<image::ProcessT>> ended_;
  std::vector<std::unique_ptr<ProcessRestore>> processes_;  // the program first
  std::vector<MemberOrigin> origins_;                       // parallel to processes_
  std::unique_ptr<LazyFill> lazy_fill_;
  std::unique_ptr<WriteTracker> tracker_;  // of a program whose memory is limited
  std::vector<UniqueFd> object_owners_;
  Clock::time_point stage_started_ = Clock::now();
};

Restore::Restore(std::shared_ptr<const store::CheckpointReader> reader, const RestoreOptions& options)
    : setting_{.reader = std::move(reader), .options = options},
      reader_(*setting_.reader),
      options_(options),
      sockets_(options.sockets),
      checkpoint_(unpack_image(reader_.image())) {
  setting_.notes = change_paths(*checkpoint_, options_.paths);
  processes_.push_back(std::make_unique<ProcessRestore>(setting_, ProcessView(*checkpoint_)));
  add_relatives();
}

// Memory without a name has to have one where several processes are to map it.
void Restore::share_memory_files() {
  for (auto& object : checkpoint_->objects) {
    if (object->kind != image::ObjectKind::SharedAnonymous) continue;
    object->kind = image::ObjectKind::Memfd;
    object->name = "shared";
    object->mode = 0600;
  }
}

void Restore::add_relatives() {
  std::vector<std::unique_ptr<image::ProcessT>> relatives = std::move(checkpoint_->relatives);
  checkpoint_->relatives.clear();
  std::set<std::size_t> held;
  auto hold = [&held](const image::ProcessT& process) {
    for (const auto& descriptor : process.descriptors)
      held.insert(static_cast<std::size_t>(descriptor->description));
  };
  hold(*checkpoint_->process);
  setting_.has_relatives =
      std::ranges::any_of(relatives, [](const auto& relative) { return !relative->ended; });
  if (setting_.has_relatives) share_memory_files();
  const auto& descriptions = checkpoint_->process->descriptions;
  for (auto& relative : relatives) {
    if (relative->ended) {
      ended_.push_back(std::move(relative));
      continue;
    }
    auto part = std::make_unique<image::CheckpointT>();
    part->host = std::make_unique<image::HostT>(*checkpoint_->host);
    part->clocks = std::make_unique<image::ClocksT>(*checkpoint_->clocks);
    for (const auto& object : checkpoint_->objects)
      part->objects.push_back(std::make_unique<image::SharedObjectT>(*object));
    for (const auto& set : checkpoint_->semaphore_sets)
      part->semaphore_sets.push_back(std::make_unique<image::SemaphoreSetT>(*set));
    part->process = std::move(relative);
    for (const auto& description : descriptions)
      part->process->descriptions.push_back(std::make_unique<image::DescriptionT>(*description));
    ProcessView view(*part, checkpoint_->process->pid, held);
    hold(*part->process);
    processes_.push_back(std::make_unique<ProcessRestore>(setting_, std::move(view)));
    parts_.push_back(std::move(part));
  }
}

std::uint64_t Restore::stage_us() {
  auto now = Clock::now();
  auto spent = std::chrono::duration_cast<std::chrono::microseconds>(now - stage_started_).count();
  stage_started_ = now;
  return static_cast<std::uint64_t>(spent);
}

void Restore::check() {
  const image::HostT& host = *checkpoint_->host;
  setting_.has_foreign_vdso = has_foreign_vdso(host);
  for (auto& process : processes_) {
    if (setting_.has_foreign_vdso) check_foreign_vdso(host, process->process());
  }
  check_processor(host, options_.force_cpu, setting_.notes);
  for (auto& process : processes_) detach_carried_files(process->process());
  make_embedded_files(*checkpoint_->process, reader_, setting_.notes);
  if (options_.roll_back_files) {
    for (std::string& line : roll_back_files(*checkpoint_, reader_, options_.version_name))
      setting_.notes.push_back(std::move(line));
  }
  for (auto& process : processes_) {
    check_mapped_files(process->process());
    bring_files_back(process->process(), reader_,
                     options_.is_copy);  // some may be open as well, which comes next
  }
  if (std::string note = changed_files_note(*checkpoint_->process, options_.roll_back_files); !note.empty())
    setting_.notes.push_back(std::move(note));
  check_descriptors_and_outside();
  for (auto& process : processes_) check_process_state(process->process(), setting_.notes);
}

void Restore::check_descriptors_and_outside() {
  std::vector<LostAddress> lost;
  std::vector<LostAddress>* lost_addresses = options_.look_outside ? &lost : nullptr;
  for (auto& process : processes_) check_descriptors(process->view(), &setting_.notes, lost_addresses);
  if (options_.look_outside) {
    SocketNeeds needs = socket_needs(*checkpoint_);
    needs.lost_addresses = std::move(lost);
    options_.look_outside(needs, sockets_);
  }
  std::ranges::move(connection_notes(*checkpoint_, sockets_), std::back_inserter(setting_.notes));
}

void Restore::prepare() {
  check();
  setting_.restorer = load_restorer();
  for (auto& process : processes_) {
    process->read_runs();
    setting_.scratch_base = std::max(setting_.scratch_base, first_free_descriptor(process->process()));
  }
  plan_forks_again();
  restore_segments(*checkpoint_, reader_);
  for (auto& part : parts_) {
    for (std::size_t i = 0; i < part->objects.size(); ++i) {
      if (const auto& segment = checkpoint_->objects[i]->system_v)
        part->objects[i]->system_v->id = segment->id;
    }
  }
  setting_.object_descriptors = create_objects(*checkpoint_, reader_, setting_.scratch_base);
  for (int fd : setting_.object_descriptors) object_owners_.emplace_back(fd);
  for (auto& process : processes_) process->open_files();
  if (options_.fill != FillPolicy::kEager) setting_.fault_device = open_fault_device(setting_.scratch_base);
}

// With a limit, memory is not to be read before it is missed; and another kernel's vDSO makes every address
// space a case of its own.
void Restore::plan_forks_again() {
  origins_.resize(processes_.size());
  if (!setting_.has_relatives) return;
  std::vector<std::vector<store::StoredRun>> pages;
  for (auto& process : processes_) pages.push_back(reader_.stored_runs(process->process().space));
  Tree tree;
  tree.differing = [this](store::SpaceId one, store::SpaceId other) { return reader_.differing(one, other); };
  for (std::size_t i = 0; i < processes_.size(); ++i)
    tree.running.push_back({.view = &processes_[i]->view(), .content = content_of(pages[i])});
  for (const auto& process : ended_) tree.ended.push_back(process.get());
  if (!options_.limited && !setting_.has_foreign_vdso) origins_ = plan_forks(tree);
  join_forks(pages);
  note_common_memory(pages);
}

void Restore::join_forks(const std::vector<std::vector<store::StoredRun>>& pages) {
  for (std::size_t root = 0; root < processes_.size(); ++root) {
    std::vector<std::size_t> family = forks_below(origins_, root);
    if (origins_[root].maker || family.empty()) continue;
    family.insert(family.begin(), root);
    AddressRanges filled;
    for (std::size_t member : family) filled = unite(filled, content_of(pages[member]));
    for (std::size_t member : family) {
      std::vector<const image::ProcessT*> forks;
      for (std::size_t fork : forks_below(origins_, member)) forks.push_back(&processes_[fork]->process());
      processes_[member]->join_forks(origins_[member], std::move(forks), runs_of(filled));
    }
  }
}

void Restore::note_common_memory(const std::vector<std::vector<store::StoredRun>>& pages) {
  std::vector<store::StoredRun> runs;
  for (std::size_t i = 0; i < pages.size(); ++i)
    std::ranges::move(subtract(pages[i], origins_[i].shared), std::back_inserter(runs));
  if (std::string note = common_memory_note(std::move(runs)); !note.empty())
    setting_.notes.push_back(std::move(note));
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

std::vector<NewMember> Restore::new_members() {
  std::vector<NewMember> members;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    members.push_back(processes_[i]->member());
    members.back().forked = origins_[i].maker.has_value();
    if (!members.back().forked) members.back().forks = forks_below(origins_, i);
  }
  return members;
}

void Restore::start_processes() {
  std::vector<UniqueFd> lifted;
  std::vector<NewMember> members = new_members();
  setting_.description_numbers = SharedNumbers(checkpoint_->process->descriptions.size());
  std::vector<const image::ProcessT*> ended;
  std::ranges::transform(ended_, std::back_inserter(ended),
                         [](const auto& process) { return process.get(); });
  SocketPolicy sockets = sockets_above(setting_.scratch_base, lifted);
  try {
    setting_.built = start_new_process({.members = members,
                                        .ended = std::move(ended),
                                        .object_descriptors = setting_.object_descriptors,
                                        .scratch_base = setting_.scratch_base,
                                        .pids = options_.pids,
                                        .sockets = std::move(sockets),
                                        .description_numbers = setting_.description_numbers.all()},
                                       setting_.notes);
  } catch (const Error& error) {
    // The id of a relative, which is made by another one than we are.
    if (error.code() == EEXIST && !(parts_.empty() && ended_.empty())) throw IdTaken(error.what(), EEXIST);
    throw;
  }
}

// Parents before their children.
void Restore::make_all(RestoreTimes& times) {
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (std::optional<std::size_t> maker = origins_[i].maker) {
      setting_.built.pids[i] = processes_[i]->fork_from(*processes_[*maker]);
      processes_[i]->become_fork(*processes_[*maker]);
    } else {
      processes_[i]->build_mappings(setting_.built.pids[i]);
    }
    processes_[i]->fill_for_forks(times);
  }
}

// All have their mappings before any gets further: what they share is to be there for all.
void Restore::build(RestoreTimes& times) {
  times.descriptors_us = stage_us();
  make_all(times);
  times.mappings_us = stage_us();
  fill(times);
  times.fill_us = stage_us();
  for (auto& process : processes_) process->complete();
  learn_ids();
  for (auto& process : processes_) process->finish();
  keep_ids_that_are_seen();
  seal_objects(*checkpoint_, setting_.object_descriptors);
}

// A group or session that nobody stands for is that of whoever recovers the program.
void Restore::learn_ids() {
  if (setting_.built.old_ids) return;
  const image::ProcessT& program = *checkpoint_->process;
  pid_t pid = setting_.built.spawned.pid;
  setting_.ids = setting_.built.ids;
  for (auto& process : processes_) process->tell_ids(setting_.ids);
  if (program.process_group != 0) setting_.ids.try_emplace(program.process_group, ::getpgid(pid));
  if (program.session != 0) setting_.ids.try_emplace(program.session, ::getsid(pid));
}

void Restore::keep_ids_that_are_seen() {
  if (setting_.built.old_ids) return;
  std::vector<RenumberedProcess> renumbered;
  for (auto& process : processes_) {
    const image::ProcessT& saved = process->process();
    renumbered.push_back(
        {.name = saved.threads.front()->name, .tables = {process->pid(), saved.agent_tables, {}}});
  }
  std::vector<std::string> without = keep_seen_ids(renumbered, setting_.ids);
  std::int32_t saved = checkpoint_->process->pid;
  setting_.notes.push_back(fmt::format(
      "the program has process id {} instead of {}, everything else of it has new ids too; held "
      "mutexes that were told: {}, those of other libraries than libc may still remember the old owner",
      current_id(setting_.ids, saved), saved, setting_.corrected_words.size()));
  if (without.empty()) return;
  constexpr std::size_t kMostNames = 5;
  setting_.notes.push_back(
      fmt::format("these see their new ids, since libckpt.so is not in them, and what they remember of ids "
                  "may be wrong: {}",
                  list_some(without, kMostNames)));
}

// What is missing is served before any process gets further: from here on each may wait for its memory.
void Restore::fill(RestoreTimes& times) {
  std::vector<LazyMemory> memories;
  std::vector<pid_t> pids;
  for (auto& process : processes_) {
    pids.push_back(process->pid());
    if (auto memory = process->fill(times)) memories.push_back(std::move(*memory));
  }
  if (memories.empty()) return;
  if (options_.limited) {
    const LazyMemory& program = memories.front();
    tracker_ = WriteTracker::of(program.faults.fd(), program.pid, reader_.description().version);
  }
  lazy_fill_ = std::make_unique<LazyFill>(LazyFillWork{.reader = setting_.reader,
                                                       .memories = std::move(memories),
                                                       .processes = std::move(pids),
                                                       .directory = options_.directory,
                                                       .stays = options_.limited});
}

Session Restore::hand_over() {
  Session session(setting_.built.spawned.pid);
  Session::State& state = RestoreAccess::state(session);
  state.roots.namespace_init = setting_.built.spawned.init;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (i > 0) state.processes.push_back(ProcessState::of_relative(processes_[i]->pid()));
    state.processes.back()->agent_addresses = processes_[i]->process().agent_tables;
  }
  leave_stopped(state);
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (!processes_[i]->stays_stopped()) processes_[i]->leave(state.processes[i]->calls);
  }
  return session;
}

// They are let go, and stop at once. Their parents shall not hear of it.
void Restore::leave_stopped(Session::State& state) {
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    if (!processes_[i]->stays_stopped()) continue;
    processes_[i]->leave(state.processes[i]->calls);
    processes_[i]->release();
    for (auto& parent : processes_) {
      if (parent->process().pid == processes_[i]->process().parent && !parent->stays_stopped())
        parent->discard_news_of(processes_[i]->process());
    }
  }
}

// The thread that brings back what is kept elsewhere goes first, and all others when it has something in
// place that makes them wait.
std::optional<Keeper> Restore::release_keeper(const Session::State& state) {
  const ProcessState& program = *state.processes.front();
  if (!options_.tell_program) return std::nullopt;
  auto keeper = Keeper::of(program.pid, {program.pid, checkpoint_->process->agent_tables, {}});
  if (keeper) keeper->expect();
  if (!processes_.front()->release_keeper() || !keeper) return std::nullopt;
  keeper->await_stand_in();
  return keeper;
}

void Restore::release(Session& session) {
  Session::State& state = RestoreAccess::state(session);
  std::optional<Keeper> keeper = release_keeper(state);
  for (auto& process : processes_) {
    if (!process->stays_stopped()) process->release();
  }
  if (keeper) keeper->await_return();
  for (auto& process : state.processes) process->calls.released();
  if (options_.limited) {
    std::unique_ptr<WriteTracker> watched = tracker_->another();
    state.processes.front()->tracker = std::move(tracker_);
    state.roots.guardian = lazy_fill_->guardian();
    state.buffer.limit(Paging::kBufferBytes);
    state.paging = std::make_unique<Paging>(std::move(lazy_fill_), setting_.reader, std::move(watched));
  } else {
    state.fill = std::move(lazy_fill_);
  }
}

Restored Restore::run() {
  auto started = Clock::now();
  RestoreTimes times;
  prepare();
  times.prepare_us = stage_us();
  start_processes();
  try {
    build(times);
    Session session = hand_over();
    pid_t pid = session.pid();
    if (options_.tell_program) options_.tell_program(pid, {pid, checkpoint_->process->agent_tables, {}});
    if (options_.before_release) options_.before_release(pid);
    release(session);
    times.threads_us = stage_us();
    times.total_us = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started).count());
    if (options_.notes != nullptr) *options_.notes = setting_.notes;
    return {.session = std::move(session), .namespace_init = setting_.built.spawned.init, .times = times};
  } catch (...) {
    end_new_process(setting_.built);
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
