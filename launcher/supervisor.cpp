#include "launcher/supervisor.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/proc_stat.h"
#include "launcher/held_leases.h"
#include "launcher/human_units.h"
#include "launcher/kept_versions.h"
#include "launcher/lease_log.h"
#include "launcher/process_identity.h"

namespace ckpt::launcher {
namespace {

engine::CarriedFiles carried_files(FilePolicy policy) {
  switch (policy) {
    case FilePolicy::kKeep:
      return engine::CarriedFiles::kNone;
    case FilePolicy::kRollBack:
      return engine::CarriedFiles::kWritten;
    case FilePolicy::kEmbed:
      return engine::CarriedFiles::kAll;
  }
  return engine::CarriedFiles::kNone;
}

constexpr int kTellingLateness = 5;
constexpr std::size_t kCachedTables = 512;
constexpr int kPriority = -10;
constexpr std::chrono::seconds kLongestPreparation{60};
constexpr int kMostChanges = 5;  // checkpoints in a row that did not come about because processes changed

// The program has entered a critical section (ckpt_disable) since it was asked.
struct Deferred : Error {
  Deferred() : Error("the program does not allow a checkpoint now") {}
};

bool stopped_now(pid_t pid) {
  std::optional<ProcessIdentity> identity = identify_process(pid);
  return identity && liveness(*identity) == Liveness::kStopped;
}

enum class News { kTake, kLeave };

// Whether there is news of a stop of the program by job control that nobody has taken yet.
bool has_news_of_stop(pid_t pid, News news) {
  siginfo_t info{};
  int options = WSTOPPED | WNOHANG | __WALL | (news == News::kLeave ? WNOWAIT : 0);
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, options) == 0 && info.si_pid == pid;
}

std::string reply_for(const std::string& name, const store::VersionDescription& description) {
  return success_reply({{"name", name},
                        {"version", description.version},
                        {"frozen_time_us", description.stats.frozen_time_us},
                        {"bytes_written", description.stats.bytes_written}});
}

}  // namespace

Supervisor::Supervisor(SupervisorParts parts, SupervisorConfig config)
    : parts_(parts),
      config_(std::move(config)),
      participation_(parts.session),
      period_(config_.settings.every, Clock::now()),
      last_version_(config_.parent) {
  if (config_.settings.heap_resident != 0) {
    limit_.emplace(config_.settings.heap_resident);
    tables_ = std::make_shared<store::TableCache>(kCachedTables);
    parts_.application.spare_memory();
    // To look in time, on a busy machine, too; where that is not permitted it is as it was.
    ::setpriority(PRIO_PROCESS, 0, kPriority);
  }
}

EndRecord Supervisor::run() {
  while (!over()) {
    wait_for_events();
    handle_signals();
    reap_children();
    handle_requests();
    look_at_program();
    look_at_filling(0);
    if (job_.busy()) advance_checkpoint();
    if (!end_ && !held()) parts_.session.finish_due_calls();
    bool goes_on = !end_ && !suspended_;
    if (goes_on && !job_.busy()) look_at_memory();
    if (!job_.busy()) do_removals();
    if (goes_on && !job_.busy()) start_checkpoint();
  }
  // Children that the program has left behind may still wait for memory.
  parts_.session.hurry_filling();
  look_at_filling(-1);
  wind_up();
  return *end_;
}

timespec Supervisor::time_to_next_event() const {
  if (suspended_) return {.tv_sec = 3600, .tv_nsec = 0};  // the program's end is an event
  std::optional<Clock::time_point> next;
  auto consider = [&next](std::optional<Clock::time_point> when) {
    if (when && (!next || *when < *next)) next = when;
  };
  bool waiting = waits();  // the end of that is an event
  bool late = period_.due(Clock::now());
  if (!end_ && (job_.busy() ? !late : !(waiting && wanted_))) consider(period_.next_due());
  if (!end_) consider(preparing_until_);
  if (!end_ && !job_.busy() && limit_) consider(limit_->next_look());
  if (!end_ && !held()) consider(parts_.session.next_deadline());
  if (!end_ && !job_.busy() && !waiting && wanted_) consider(Clock::now());
  constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(1);
  std::chrono::nanoseconds left = next ? *next - Clock::now() : kLongest;
  left = std::clamp(left, std::chrono::nanoseconds(0), kLongest);
  return {.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
}

void Supervisor::wait_for_events() {
  std::vector<pollfd> polled{{.fd = parts_.signals.fd(), .events = POLLIN, .revents = 0},
                             {.fd = job_.fd(), .events = POLLIN, .revents = 0},
                             {.fd = parts_.session.fill_fd(), .events = POLLIN, .revents = 0},
                             {.fd = parts_.wake.fd(), .events = POLLIN, .revents = 0}};
  parts_.control.add_to(polled);
  timespec timeout = time_to_next_event();
  if (::ppoll(polled.data(), polled.size(), &timeout, nullptr) < 0 && errno != EINTR)
    throw_errno("wait for events");
}

// ---- signals and children

void Supervisor::handle_signals() {
  while (std::optional<signalfd_siginfo> info = parts_.signals.next()) handle_signal(*info);
}

void Supervisor::handle_signal(const signalfd_siginfo& info) {
  int signal = static_cast<int>(info.ssi_signo);
  if (signal == SIGCHLD || end_) return;
  // Not from outside: SIGPIPE for a message that nobody reads, SIGXFSZ for a segment beyond our limit.
  if ((signal == SIGPIPE || signal == SIGXFSZ) && info.ssi_pid == static_cast<std::uint32_t>(::getpid()))
    return;
  if (config_.settings.on_signal == signal) return want({.by_signal = true});
  bool ends = signal == SIGTERM || signal == SIGHUP;
  if (ends && config_.settings.on_term == OnTerm::kSave) return want({.by_signal = true, .suspend = true});
  if (from_terminal(info)) return;
  // The shell continues the whole process group, so the program has had this one.
  if (signal == SIGCONT && std::exchange(ignore_next_continue_, false)) return;
  forward_signal(parts_.session.pid(), info);
}

void Supervisor::reap_children() {
  if (held()) return;
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED | __WALL);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    if (engine::Session::take_stop(pid, status)) continue;
    if (pid != parts_.session.pid()) continue;  // an orphan of the program, or the init of its namespace
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      end_ = EndRecord{.suspended = suspended_,
                       .end = program_end(status),
                       .realtime_ns = realtime_now_ns(),
                       .version = suspended_ ? last_version_ : 0};
    } else if (WIFSTOPPED(status) && (status >> 16) == 0) {
      stop_with_program();
    }
  }
}

// The shell that started us waits for our stop, not for the program's. Stopping ourselves with SIGSTOP works
// in every process group; the signal goes to this thread, so that nothing runs on before the stop.
void Supervisor::stop_with_program() {
  pid_t pid = parts_.session.pid();
  has_news_of_stop(pid, News::kTake);
  ::pthread_kill(::pthread_self(), SIGSTOP);
  ignore_next_continue_ = true;
  // Who has been continued with us, and has stopped once more before we got here, is not to be continued.
  if (stopped_now(pid) && !has_news_of_stop(pid, News::kLeave)) ::kill(pid, SIGCONT);
}

// ---- requests

void Supervisor::handle_requests() {
  for (const ControlServer::Line& line : parts_.control.serve()) handle_request(line.client, line.text);
}

void Supervisor::handle_request(ClientId client, const std::string& line) {
  try {
    ControlRequest request = parse_request(line);
    switch (request.command) {
      case ControlCommand::kCheckpoint:
        return want({.clients = {client}});
      case ControlCommand::kSuspend:
        return want({.suspend = true, .clients = {client}});
      case ControlCommand::kRemove:
        return removals_.push_back({client, request.version});
      case ControlCommand::kStatus:
        return parts_.control.send(client, status_reply());
    }
  } catch (const Error& error) {
    parts_.control.send(client, error_reply(error.what()));
  }
}

std::string Supervisor::status_reply() const {
  return success_reply({{"name", parts_.application.name()},
                        {"pid", parts_.session.pid()},
                        {"run_id", config_.run_id},
                        {"last_version", last_version_},
                        {"checkpoints", summary_.count()},
                        {"checkpointing", job_.busy()}});
}

// Between checkpoints only: the version under way may refer to pages of the one that is removed.
void Supervisor::do_removals() {
  for (; !removals_.empty(); removals_.pop_front()) {
    const Removal& removal = removals_.front();
    try {
      auto remove = [&] { parts_.application.remove(removal.version); };
      // What the program builds on has to stay.
      if (removal.version == last_version_) {
        remove();
      } else {
        remove_with_kept(parts_.application, remove);
      }
      parts_.control.send(removal.client, success_reply({{"version", removal.version}}));
    } catch (const Error& error) {
      parts_.control.send(removal.client, error_reply(error.what()));
    }
  }
}

// ---- checkpoints

// After a lazy restore: a checkpoint waits until all memory is there, and hurries it.
void Supervisor::look_at_filling(int timeout_ms) {
  if (parts_.session.fill_fd() < 0) return;
  bool limited = parts_.session.limited();
  pollfd done{.fd = parts_.session.fill_fd(), .events = POLLIN, .revents = 0};
  if (::poll(&done, 1, timeout_ms) <= 0) return;
  engine::FillReport report = parts_.session.end_filling();
  if (!report.failure.empty()) {
    fill_failure_ =
        fmt::format("the program was killed, memory of {}@{} cannot be read: {}", parts_.application.name(),
                    limited ? last_version_ : config_.parent, report.failure);
  } else if (config_.verbose && limited) {
    parts_.messages.line(fmt::format("memory came back {} times, {} in all", report.faults,
                                     human_bytes(report.pages_on_demand * store::kPageBytes)));
  } else if (config_.verbose) {
    parts_.messages.line(fmt::format(
        "all memory of {}@{} came within {}: {} on demand ({} waits), {} prefetched, {} in the background",
        parts_.application.name(), config_.parent, human_microseconds(report.total_us),
        human_bytes(report.pages_on_demand * store::kPageBytes), report.faults,
        human_bytes(report.pages_prefetched * store::kPageBytes),
        human_bytes(report.pages_in_background * store::kPageBytes)));
  }
}

// ---- a limit of memory

void Supervisor::look_at_memory() {
  if (limit_ && limit_->next_look() <= Clock::now()) make_room(false);
}

// If there is too little. What no version has yet can be discarded only when one has it: the program stands
// still until then.
void Supervisor::make_room(bool has_version) {
  std::uint64_t before = parts_.session.resident_bytes();
  if (!limit_->look(before, Clock::now())) return;
  std::uint64_t evicted = 0;
  try {
    evicted = parts_.session.evict(limit_->excess(before));
  } catch (const Error& error) {
    limit_->has_room(before, Clock::now());
    if (error.code() == ESRCH) return;  // it has just ended, which others tell
    return parts_.messages.line_once(fmt::format("memory was not discarded: {}", error.what()));
  }
  if (limit_->has_room(before - std::min(before, evicted), Clock::now())) return;
  if (!has_version) return want({.for_room = true});
  parts_.messages.line_once(
      fmt::format("the limit of {} cannot be kept: {} of the program's memory cannot be discarded",
                  human_bytes(config_.settings.heap_resident), human_bytes(before - evicted)));
}

// ---- what the program asks for itself

void Supervisor::look_at_program() {
  if (!parts_.wake.called() || end_) return;
  deferred_ = false;
  hear_program();
}

void Supervisor::hear_program() {
  for (const ProgramCall& call : participation_.look()) want({.calls = {call}});
  record_leases([this](const LeaseLog& log) { look_at_leases(log); });
}

// Every change goes to the log.
void Supervisor::look_at_leases(const LeaseLog& log) {
  for (const ProgramLease& lease : participation_.leases()) {
    std::optional<LeaseChange> before = log.state(lease.name);
    if (before && before->state == lease.state && before->detail == lease.place) continue;
    log.append(
        {.name = lease.name, .kind = "program", .state = lease.state, .detail = lease.place, .data = {}});
    if (lease.state != LeaseState::kLost) continue;
    std::string message = fmt::format("lease {} of the program is lost", lease.name);
    parts_.messages.line(message);
    if (config_.settings.lease_policy != LeasePolicy::kFail) continue;
    lease_failure_ = fmt::format("{}; make it available, or use --lease-policy notify", message);
    ::kill(parts_.session.pid(), SIGKILL);
  }
}

// Whether it has done what it wants to do before a checkpoint.
bool Supervisor::program_is_ready() {
  if (preparing_until_) {
    std::optional<int> result = participation_.before_hooks_result();
    if (!result && Clock::now() < *preparing_until_) return false;
    preparing_until_.reset();
    if (!result || *result != 0) {
      refuse_wanted(
          result ? fmt::format("a function that the program runs before checkpoints returned {}", *result)
                 : fmt::format("a function that the program runs before checkpoints takes more than "
                               "{} s",
                               kLongestPreparation.count()),
          -ECANCELED);
      return false;
    }
    hear_program();  // in a suspend there is no later
    return true;
  }
  hear_program();
  deferred_ = participation_.deferred();
  if (deferred_) return false;
  if (!participation_.start_before_hooks(wanted_->suspend)) return true;
  preparing_until_ = Clock::now() + kLongestPreparation;
  return false;
}

void Supervisor::refuse_wanted(const std::string& error, int result) {
  current_ = std::exchange(wanted_, std::nullopt);
  current_began_ = Clock::now();
  checkpoint_failed(error, result);
}

// Requests that come while a checkpoint is under way share the next one: theirs must not be older than the
// request.
void Supervisor::want(Wanted more) {
  if (!wanted_) {
    wanted_ = std::move(more);
    return;
  }
  wanted_->by_period = wanted_->by_period && more.by_period;
  wanted_->by_signal = wanted_->by_signal || more.by_signal;
  wanted_->for_room = wanted_->for_room || more.for_room;
  wanted_->suspend = wanted_->suspend || more.suspend;
  wanted_->clients.insert(wanted_->clients.end(), more.clients.begin(), more.clients.end());
  wanted_->calls.insert(wanted_->calls.end(), more.calls.begin(), more.calls.end());
}

void Supervisor::start_checkpoint() {
  if (!wanted_ && period_.due(Clock::now())) want({.by_period = true});
  if (!wanted_) return;
  if (parts_.session.filling()) return parts_.session.hurry_filling();
  try {
    if (deferred_ || !program_is_ready()) return;
  } catch (const Error& error) {
    return refuse_wanted(error.what(), -EIO);
  }
  current_ = std::exchange(wanted_, std::nullopt);
  current_began_ = Clock::now();
  try {
    // Until its memory is stored, and can be discarded, a program that is near its limit must not go on.
    if (limit_ && limit_->is_near(parts_.session.resident_bytes())) parts_.session.hold();
    job_.start(parts_.application, parts_.session, make_order());
    if (!current_->by_period) job_.hurry();
  } catch (const std::exception& error) {
    job_.abandon();
    release_held();
    return checkpoint_failed(error.what(), -EIO);
  }
  advance_checkpoint();
}

CheckpointOrder Supervisor::make_order() {
  CheckpointOrder order;
  order.writer = begin_version();
  order.capture = {
      .mode = config_.settings.mode,
      .tracking = config_.tracking,
      .pause_budget = config_.settings.pause_budget,
      .after = current_->suspend || held() ? engine::AfterCapture::kHold : engine::AfterCapture::kResume,
      .parent = last_version_,
      .files = carried_files(config_.settings.files),
      .cpu_baseline = config_.settings.cpu_baseline,
      .keep_connections = current_->suspend && config_.settings.sockets == OutsideSockets::kKeep,
      .before_reading =
          [this] {
            if (participation_.deferred()) throw Deferred();
          },
      .while_stopped = [this](pid_t) { participation_.captured(current_->calls); }};
  order.keep = config_.settings.keep;
  if (limit_)
    order.durable = [this](store::Version version) {
      parts_.session.serve_from(parts_.application.open(version, tables_));
    };
  order.description.created_realtime_ns = realtime_now_ns();
  order.description.run_id = config_.run_id;
  order.description.command = config_.command;
  order.description.working_directory = config_.working_directory;
  return order;
}

std::unique_ptr<store::CheckpointWriter> Supervisor::begin_version() {
  try {
    return parts_.application.begin(last_version_, store::Base::kParent, config_.settings.write);
  } catch (const Error&) {
    // The parent may have been removed meanwhile; then the newest version there is takes its place.
    std::vector<store::VersionEntry> versions = parts_.application.versions();
    auto same = [this](const store::VersionEntry& entry) {
      return entry.description.version == last_version_;
    };
    if (last_version_ == 0 || std::ranges::any_of(versions, same)) throw;
    last_version_ = versions.empty() ? 0 : versions.back().description.version;
    return parts_.application.begin(last_version_, store::Base::kParent, config_.settings.write);
  }
}

void Supervisor::advance_checkpoint() {
  // The next one waits already, or whoever waits for the end of the program.
  if (end_ || wanted_ || period_.due(Clock::now())) job_.hurry();
  try {
    std::optional<CheckpointOutcome> outcome = job_.advance();
    // A stop by job control that met the capture may have been seen by the engine instead of us.
    if (!held() && !end_ && stopped_now(parts_.session.pid())) stop_with_program();
    if (!outcome) return;
    if (!outcome->retention_error.empty()) {
      parts_.messages.line_once(fmt::format("old versions were not removed: {}", outcome->retention_error));
    }
    record_leases([&](const LeaseLog& log) { log_holdings(log, outcome->holdings); });
    checkpoint_done(outcome->description);
  } catch (const Deferred&) {
    checkpoint_deferred();
  } catch (const engine::ProcessesChanged& error) {
    release_held();
    if (++changes_ > kMostChanges) return checkpoint_failed(error.what(), -EIO);
    participation_.put_off();
    want(*std::exchange(current_, std::nullopt));
  } catch (const std::exception& error) {
    release_held();
    checkpoint_failed(error.what(), -EIO);
  }
}

void Supervisor::record_leases(const std::function<void(const LeaseLog&)>& record) {
  try {
    record(LeaseLog(parts_.application.directory()));
  } catch (const Error& error) {
    parts_.messages.line_once(fmt::format("a change of a lease was not recorded: {}", error.what()));
  }
}

// It is still wanted, when the program allows it.
void Supervisor::checkpoint_deferred() {
  participation_.put_off();
  deferred_ = true;
  want(*std::exchange(current_, std::nullopt));
}

void Supervisor::release_held() {
  if (held()) parts_.session.release_held();
}

bool Supervisor::program_is_ending() const {
  std::optional<ProcessIdentity> program = identify_process(parts_.session.pid());
  Liveness now = program ? liveness(*program) : Liveness::kGone;
  return now == Liveness::kGone || now == Liveness::kEnding;
}

void Supervisor::checkpoint_failed(const std::string& error, int result) {
  Wanted failed = *std::exchange(current_, std::nullopt);
  period_.checkpoint_over(current_began_, Clock::now());
  reap_children();
  if (end_ || program_is_ending()) {
    tell_clients(failed.clients, error_reply("the program ended before the checkpoint was complete"));
    return;
  }
  std::string message = fmt::format("checkpoint failed: {}", error);
  bool news =
      (failed.by_period || failed.for_room) && std::exchange(last_period_failure_, message) != message;
  if (news || failed.by_signal || !failed.calls.empty())
    parts_.messages.line(message);                // clients tell their user themselves
  participation_.finished(failed.calls, result);  // who is told of it can read the message already
  tell_clients(failed.clients, error_reply(error));
}

void Supervisor::checkpoint_done(const store::VersionDescription& description) {
  Wanted done = *std::exchange(current_, std::nullopt);
  changes_ = 0;
  report_lateness(period_.checkpoint_over(current_began_, Clock::now()));
  last_version_ = description.version;
  last_period_failure_.clear();
  summary_.add(description.stats);
  print_notes(description.notes);
  if (config_.verbose) {
    parts_.messages.line(fmt::format("checkpoint {}@{}: paused {}, wrote {} ({})", parts_.application.name(),
                                     description.version,
                                     human_microseconds(description.stats.frozen_time_us),
                                     human_bytes(description.stats.bytes_written), description.stats.mode));
  }
  std::string reply = reply_for(parts_.application.name(), description);
  if (held() && !done.suspend) {
    make_room(true);
    release_held();
  }
  if (!held()) {
    participation_.finished(done.calls, 0);
    return tell_clients(done.clients, reply);
  }
  // Those who asked for a suspend are answered when the program is gone, by wind_up().
  current_ = std::move(done);
  suspend_reply_ = reply;
  suspended_ = true;
  parts_.session.end_held();
}

// Once in a while is no news.
void Supervisor::report_lateness(bool late) {
  late_in_a_row_ = late ? late_in_a_row_ + 1 : 0;
  if (late_in_a_row_ < kTellingLateness) return;
  parts_.messages.line_once(
      "checkpoints take longer than the period given by --every; they are made as often as they can be");
}

void Supervisor::print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) parts_.messages.line_once(note);
}

void Supervisor::tell_clients(std::vector<ClientId>& clients, const std::string& reply) {
  for (ClientId client : clients) parts_.control.send(client, reply);
  clients.clear();
}

// ---- the end

// What a copy began from is of no use to it any more, and would keep its space.
void Supervisor::drop_shared_version() {
  if (config_.shared == 0 || last_version_ != config_.shared || !end_->finished()) return;
  try {
    parts_.application.remove(config_.shared);
  } catch (const Error&) {
    // It has a tag, or goes with the rest.
  }
}

// A daemon that went into the background, say.
void Supervisor::report_left_behind() {
  if (end_->suspended) return;
  std::vector<pid_t> left = parts_.session.left_behind();
  if (left.empty()) return;
  std::string name;
  try {
    name = name_of_process(left.front());
  } catch (const Error&) {
    return;  // it has just ended
  }
  std::string others = left.size() > 1 ? fmt::format(" and {} more", left.size() - 1) : "";
  parts_.messages.line(
      fmt::format("the program has ended; {} (pid {}){}, which it has left behind, will not be checkpointed; "
                  "have the program stay in the foreground to include what it starts",
                  name, left.front(), others));
}

void Supervisor::wind_up() {
  report_left_behind();
  if (config_.verbose) {
    parts_.messages.line(fmt::format("{}; the program ended: {}", summary_.describe(),
                                     end_->suspended ? "suspended" : describe(end_->end)));
  }
  try {
    RunState state(parts_.application.directory());
    state.write_ended(*end_);
    state.clear_running();
  } catch (const Error& error) {
    parts_.messages.line(fmt::format("the end of the program was not recorded: {}", error.what()));
  }
  drop_shared_version();
  record_leases([this](const LeaseLog& log) { log_expired(log, end_->suspended); });
  if (current_) tell_clients(current_->clients, suspend_reply_);
  if (wanted_)
    tell_clients(wanted_->clients, error_reply("the program ended before the checkpoint was taken"));
  do_removals();
}

}  // namespace ckpt::launcher
