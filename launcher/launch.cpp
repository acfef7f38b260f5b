#include "launcher/launch.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "engine/capture/host.h"
#include "engine/restore/path_changes.h"
#include "image_generated.h"
#include "launcher/agent_library.h"
#include "launcher/claimed_application.h"
#include "launcher/control_server.h"
#include "launcher/cpu_baseline.h"
#include "launcher/exec_leases.h"
#include "launcher/human_units.h"
#include "launcher/image_summary.h"
#include "launcher/messages.h"
#include "launcher/options.h"
#include "launcher/outside_leases.h"
#include "launcher/participation.h"
#include "launcher/program_file.h"
#include "launcher/program_start.h"
#include "launcher/recover_selection.h"
#include "launcher/run_state.h"
#include "launcher/signal_gate.h"
#include "launcher/store_location.h"
#include "launcher/supervisor.h"
#include "launcher/survivors.h"
#include "launcher/wake_file.h"

namespace ckpt::launcher {
namespace {

std::string new_run_id() {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
    throw_errno("get random bytes");
  return fmt::format("{:016x}", random);
}

std::string working_directory() {
  std::error_code error;
  std::filesystem::path path = std::filesystem::current_path(error);
  return error ? std::string() : path.string();
}

std::string absolute_path(const store::Application& application) {
  return std::filesystem::absolute(application.path()).lexically_normal().string();
}

// Orphans of the program come to us instead of to init, so that they stay within reach of a checkpoint.
void adopt_orphans() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) throw_errno("become a child sub-reaper");
}

RunningRecord running_record(pid_t program, const SupervisorConfig& config) {
  std::optional<ProcessIdentity> identity = identify_process(program);
  RunningRecord record;
  record.program = identity.value_or(ProcessIdentity{.pid = program, .start_time = 0, .boot_id = {}});
  record.supervisor = ::getpid();
  record.run_id = config.run_id;
  record.command = config.command;
  record.working_directory = config.working_directory;
  return record;
}

int supervise(const ClaimedApplication& claimed, ControlServer& control, WakeFile& wake,
              engine::Session& session, SignalGate& signals, Messages& messages,
              const SupervisorConfig& config) {
  session.adopt_orphans();
  Supervisor supervisor({*claimed.application, session, signals, control, wake, messages}, config);
  EndRecord end = supervisor.run();
  control.withdraw();
  if (!supervisor.fill_failure().empty()) throw Error(supervisor.fill_failure());
  if (!supervisor.lease_failure().empty()) throw Error(supervisor.lease_failure());
  return end.suspended ? kExitSuspended : exit_code(end.end);
}

// CKPT_TRACKING=compare does without the kernel's help, as on kernels that have none to offer.
engine::Tracking wanted_tracking() {
  const char* value = std::getenv("CKPT_TRACKING");
  return value != nullptr && std::string_view(value) == "compare" ? engine::Tracking::kCompare
                                                                  : engine::Tracking::kKernel;
}

// Said before anything is done for which it would be too late.
void require_what_sockets_need(std::optional<OutsideSockets> sockets) {
  if (sockets == OutsideSockets::kKeep) engine::resource::require_tcp_repair();
}

void require_what_limit_needs(std::uint64_t heap_resident) {
  if (heap_resident == 0) return;
  engine::Session::require_limits();
  if (wanted_tracking() == engine::Tracking::kCompare)
    throw Error("--heap-resident needs to be told by the kernel what is written; unset CKPT_TRACKING");
}

int run_fresh(const RunOptions& options, Messages& messages) {
  require_what_sockets_need(options.sockets);
  require_what_limit_needs(options.heap_resident.value_or(0));
  std::string program_file = find_program(options.command.at(0));
  refuse_privileged(program_file);
  std::string tunables;
  if (!options.cpu_baseline.empty())
    tunables = tunables_for(options.cpu_baseline, std::getenv("GLIBC_TUNABLES"));
  store::Store store = open_store_for_run(options.store);
  ClaimedApplication claimed = claim_for_fresh_run(store, options.name, options.command);
  RunState state(claimed.application->directory());
  SupervisorConfig config{.settings = merge_settings(options, std::nullopt),
                          .verbose = options.verbose,
                          .tracking = wanted_tracking(),
                          .run_id = new_run_id(),
                          .command = options.command,
                          .working_directory = working_directory(),
                          .parent = 0};
  state.write_settings(config.settings);
  ControlServer control(claimed.application->directory());
  WakeFile wake(claimed.application->directory());
  adopt_orphans();
  SignalGate signals;
  ExecLeases leases(parse_leases(config.settings.leases).exec,
                    config.settings.lease_policy.value_or(LeasePolicy::kNotify), claimed.application->name(),
                    claimed.application->directory(), signals, messages);
  leases.issue();
  ProgramEnvironment environment{.directory = absolute_path(*claimed.application),
                                 .preload = {},
                                 .tunables = std::move(tunables),
                                 .small_pages = config.settings.heap_resident != 0,
                                 .most_data = options.heap_size};
  if (options.agent) environment.preload = preload_for(program_file, std::getenv("LD_PRELOAD"));
  PendingProgram program(options.command, signals, environment);
  state.write_running(running_record(program.pid(), config));
  try {
    program.release();
  } catch (const Error&) {
    state.clear_running();
    control.withdraw();
    throw;
  }
  close_inherited_descriptors();
  state.clear_ended();
  engine::Session session(program.pid());
  if (config.settings.heap_resident != 0) session.limit_memory();
  return supervise(claimed, control, wake, session, signals, messages, config);
}

std::string name_to_recover(const store::Store& store, const RunOptions& options) {
  if (options.target) return options.target->name;
  if (options.name) return *options.name;
  std::vector<Candidate> candidates;
  for (const std::string& name : store.applications())
    candidates.push_back(load_candidate(*store.application(name)));
  return checkpointed_last(candidates);
}

// A damaged version is no use, but another one may be; which, only reading all of it tells.
[[noreturn]] void offer_sound_version(const store::Application& application, store::Version damaged,
                                      const Error& error) {
  std::string cause(error.what());
  cause = cause.substr(0, cause.rfind(';'));
  std::vector<store::VersionEntry> versions = application.versions();
  for (auto entry = versions.rbegin(); entry != versions.rend(); ++entry) {
    store::Version version = entry->description.version;
    if (version == damaged || application.verify({version}).sound.empty()) continue;
    throw Error(fmt::format("{}; the newest sound version is {}@{}", cause, application.name(), version),
                EBADMSG);
  }
  throw Error(fmt::format("{}; no other version is sound", cause), EBADMSG);
}

// What `work` does with the version; where that is damaged, the error names one that is not.
template <typename Work>
auto with_sound_version(const store::Application& application, store::Version version, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.code() != EBADMSG) throw;
    offer_sound_version(application, version, error);
  }
}

std::shared_ptr<const store::CheckpointReader> open_version(const store::Application& application,
                                                            const Candidate& candidate,
                                                            std::optional<store::Version> wanted) {
  store::Version version = select_version(candidate, wanted);
  return with_sound_version(application, version, [&] { return application.open(version); });
}

// A full disk must not keep a program from being resumed: it may be what makes room again.
template <typename Write>
void record_if_possible(Messages& messages, Write write) {
  try {
    write();
  } catch (const Error& error) {
    if (error.code() != ENOSPC && error.code() != EDQUOT) throw;
    messages.line(fmt::format("{}; going on without it", error.what()));
  }
}

void report_restore(Messages& messages, const std::string& name, store::Version version,
                    const engine::RestoreTimes& times) {
  std::string shared;
  if (times.pages_shared != 0)
    shared = fmt::format(", {} in common since fork", human_bytes(times.pages_shared * store::kPageBytes));
  messages.line(fmt::format(
      "resumed {}@{} in {} (prepare {}, descriptors {}, mappings {}, fill {}, threads {}); {} filled, {} to "
      "come{}",
      name, version, human_microseconds(times.total_us), human_microseconds(times.prepare_us),
      human_microseconds(times.descriptors_us), human_microseconds(times.mappings_us),
      human_microseconds(times.fill_us), human_microseconds(times.threads_us),
      human_bytes(times.pages_filled * store::kPageBytes),
      human_bytes(times.pages_to_come * store::kPageBytes), shared));
}

// A copy lives in an application of its own from its first moment, so the one that it comes from may run.
ClaimedApplication claim_for_clone(store::Store& store, const std::string& name) {
  ClaimedApplication claimed = claim_for_program(store.create_application(name));
  if (claimed.application->versions().empty()) return claimed;
  throw Error(
      fmt::format("application {} holds versions already; choose another name for the copy, resume it: "
                  "ckptrun --recover {}, or remove it: ckpt rm {}",
                  name, name, name));
}

// The record is written before the program runs, so that a program that outlives us at once is known, too.
engine::Restored restore_recorded(std::shared_ptr<const store::CheckpointReader> reader,
                                  engine::RestoreOptions options, const RunState& state,
                                  const SupervisorConfig& config, OutsideLeases& outside,
                                  Messages& messages) {
  options.before_release = [&](pid_t program) {
    record_if_possible(messages, [&] { state.write_running(running_record(program, config)); });
    state.clear_ended();
    outside.go_on();
  };
  try {
    return engine::restore(std::move(reader), options);
  } catch (const Error&) {
    state.clear_running();
    throw;
  }
}

struct Recoverable {
  ClaimedApplication claimed;
  std::unique_ptr<store::Application> origin;  // whose version it is
  std::shared_ptr<const store::CheckpointReader> reader;
  std::optional<Settings> settings;  // of the run before
  bool is_copy = false;              // not the program that made the version
};

Recoverable claim_recoverable(const RunOptions& options, const std::string& name, store::Store& store) {
  std::unique_ptr<store::Application> origin = store.application(name);
  std::optional<store::Version> wanted =
      options.target ? resolve_label(store, *options.target).version : std::nullopt;
  std::shared_ptr<const store::CheckpointReader> reader;
  // What cannot be copied shall not leave an empty application behind.
  if (options.clone) reader = open_version(*origin, load_candidate(*origin), wanted);
  ClaimedApplication claimed =
      options.clone ? claim_for_clone(store, *options.clone) : claim_for_program(store.application(name));
  if (!reader) reader = open_version(*origin, load_candidate(*origin), wanted);
  RunState state(origin->directory());
  bool is_copy = options.clone || state.copied() == reader->description().version;
  return {.claimed = std::move(claimed),
          .origin = std::move(origin),
          .reader = std::move(reader),
          .settings = state.settings(),
          .is_copy = is_copy};
}

// The version becomes the copy's own, so that the copy's checkpoints hold only what it changes. Returns it; 0
// if the first checkpoint is to hold everything.
store::Version share_with_copy(const Recoverable& found, store::Version version, Messages& messages) {
  try {
    RunState(found.claimed.application->directory()).write_copied(version);
    return found.claimed.application->share(*found.origin, version) ? version : 0;
  } catch (const Error& error) {
    messages.line(fmt::format("the copy's first checkpoint will hold all its memory: {}", error.what()));
    return 0;
  }
}

// Of the program, wherever it was started.
std::string recorded_baseline(const store::CheckpointReader& reader) {
  const image::Host* host = verified_image(reader.image()).host();
  return host != nullptr && host->cpu_baseline() != nullptr ? host->cpu_baseline()->str() : std::string();
}

// All but `options` is referred to by the result.
engine::RestoreOptions restore_options(const RunOptions& options, OutsideSockets sockets,
                                       const store::Application& application, bool is_copy,
                                       const RecoverNews& news, OutsideLeases& outside,
                                       std::vector<std::string>& notes) {
  return {
      .pids = options.pids,
      .notes = &notes,
      .tell_program = [&news](pid_t program,
                              const engine::AgentTables& tables) { tell_recovered(tables, news, program); },
      .fill = options.fill,
      .locks = outside.lock_policy(options.locks),
      .sockets = {.connections = sockets == OutsideSockets::kEof ? engine::LostConnections::kEof
                                                                 : engine::LostConnections::kReset},
      .look_outside = [&outside](const engine::SocketNeeds& needs,
                                 engine::SocketPolicy& policy) { outside.look(needs, policy); },
      .file_locks = outside.file_locks(),
      .is_copy = is_copy,
      .directory = application.directory(),
      // Copies would fight over the files that they share.
      .roll_back_files = is_copy ? options.files.value_or(FilePolicy::kKeep) != FilePolicy::kKeep
                                 : options.files != FilePolicy::kKeep,
      .version_name = {},
      .paths = options.paths,
      .force_cpu = options.force_cpu};
}

// A version that came from elsewhere has no record of any run.
KeptPolicy kept_policy(const Settings& settings, bool is_copy, const store::VersionDescription& version,
                       const RunState& state) {
  KeptPolicy policy{.wanted = settings.sockets == OutsideSockets::kKeep};
  if (!policy.wanted) return policy;
  std::optional<EndRecord> ended = state.ended();
  bool waits = ended ? ended->suspended && ended->version == version.version : !state.has_running_file();
  if (is_copy) {
    policy.obstacle = "it belongs to the program that this is a copy of";
  } else if (!waits) {
    policy.obstacle = "the program has run on since this version was made";
  }
  policy.since_checkpoint_ms = (realtime_now_ns() - version.created_realtime_ns) / 1'000'000;
  return policy;
}

// Only a run whose ckptrun was killed on this machine can have left any.
void warn_of_survivors(const RunState& state, const std::string& directory, Messages& messages) {
  std::optional<RunningRecord> before = state.running();
  if (!before || before->program.boot_id != engine::boot_id()) return;
  if (std::string note = survivors_note(find_survivors(directory)); !note.empty()) messages.line(note);
}

int recover(const RunOptions& options, const std::string& name, store::Store& store, Messages& messages) {
  Recoverable found = claim_recoverable(options, name, store);
  const store::Application& application = *found.claimed.application;
  store::VersionDescription description = found.reader->description();
  RunState state(application.directory());
  SupervisorConfig config{
      .settings = merge_settings(options, found.settings),
      .verbose = options.verbose,
      .tracking = wanted_tracking(),
      .run_id = new_run_id(),
      .command = description.command,
      .working_directory = engine::changed_path(description.working_directory, options.paths),
      .parent = description.version};
  require_what_sockets_need(config.settings.sockets);
  require_what_limit_needs(config.settings.heap_resident);
  config.settings.cpu_baseline = recorded_baseline(*found.reader);
  record_if_possible(messages, [&] { state.write_settings(config.settings); });
  warn_of_survivors(state, absolute_path(application), messages);
  ControlServer control(application.directory());
  WakeFile wake(application.directory());
  adopt_orphans();
  SignalGate signals;
  std::vector<std::string> notes;
  Leases wanted = parse_leases(config.settings.leases);
  ExecLeases leases(wanted.exec, config.settings.lease_policy.value_or(LeasePolicy::kNotify),
                    application.name(), application.directory(), signals, messages);
  leases.renew();
  OutsideLeases outside(wanted.connect, config.settings.lease_policy,
                        kept_policy(config.settings, found.is_copy, description, state),
                        application.directory(), messages);
  RecoverNews news{.directory = absolute_path(application), .arguments = options.new_arguments};
  engine::RestoreOptions how =
      restore_options(options, config.settings.sockets, application, found.is_copy, news, outside, notes);
  how.limited = config.settings.heap_resident != 0;
  how.version_name = fmt::format("{}@{}", name, description.version);
  engine::Restored restored = with_sound_version(*found.origin, description.version, [&] {
    // The reader goes along: it keeps the version's files open for as long as it lives.
    return restore_recorded(std::move(found.reader), how, state, config, outside, messages);
  });
  if (options.clone) config.parent = share_with_copy(found, description.version, messages);
  if (found.is_copy) config.shared = config.parent;
  record_if_possible(messages, [&] { outside.settle(); });
  for (const std::string& note : notes) messages.line_once(note);
  if (options.verbose) report_restore(messages, name, description.version, restored.times);
  return supervise(found.claimed, control, wake, restored.session, signals, messages, config);
}

int recover(const RunOptions& options, Messages& messages) {
  store::Store store = open_existing_store(options.store);
  return recover(options, name_to_recover(store, options), store, messages);
}

int recover_or_run(const RunOptions& options, Messages& messages) {
  {
    store::Store store = open_store_for_run(options.store);
    if (auto name = find_resumable(store, options.name, options.command)) {
      return recover(options, *name, store, messages);
    }
  }
  return run_fresh(options, messages);
}

}  // namespace

int launch(const std::vector<std::string>& arguments) {
  ParsedOptions parsed = parse_run_options(arguments);
  if (parsed.information) {
    std::fputs(parsed.information->text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : kExitOwnFailure;
  }
  // A recover from elsewhere must find the same files.
  for (std::string& lease : parsed.options.leases) lease = absolute_specification(lease, working_directory());
  occupy_standard_descriptors();
  Messages messages("ckptrun", STDERR_FILENO);
  switch (parsed.options.mode) {
    case RunMode::kRun:
      return run_fresh(parsed.options, messages);
    case RunMode::kRecover:
      return recover(parsed.options, messages);
    case RunMode::kRecoverOrRun:
      return recover_or_run(parsed.options, messages);
  }
  return kExitOwnFailure;
}

}  // namespace ckpt::launcher
