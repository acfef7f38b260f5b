#include "engine/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/proc_stat.h"
#include "engine/agent_tables.h"
#include "engine/capture/capture_run.h"
#include "engine/process/proc_status.h"
#include "engine/session_state.h"
#include "engine/tracee/stuck_threads.h"
#include "engine/tracee/written_back_timeouts.h"

namespace ckpt::engine {

using Clock = std::chrono::steady_clock;

// RFC 9293, 3.8.6.3.
constexpr std::chrono::milliseconds kLatestAcknowledgement{500};

// 0 if it has ended.
static std::uint64_t anonymous_bytes(pid_t pid) try {
  std::string text = read_file(fmt::format("/proc/{}/statm", pid));
  std::string_view rest = text;
  take_field(rest, ' ');
  std::uint64_t resident = parse_unsigned(take_field(rest, ' ')).value_or(0);
  std::uint64_t of_files = parse_unsigned(take_field(rest, ' ')).value_or(0);
  return resident < of_files ? 0 : (resident - of_files) * kPageSize;
} catch (const Error&) {
  return 0;
}

ProcessState::ProcessState(pid_t program) : pid(program), space(kProcessSpace) {}

std::shared_ptr<ProcessState> ProcessState::of_relative(pid_t pid) {
  auto state = std::make_shared<ProcessState>(pid);
  state->start_time = ProcStat(pid).start_time();
  std::int32_t inner = ProcStatus::of_process(pid).innermost("NSpid");
  state->space = kFirstRelativeSpace + static_cast<store::SpaceId>(inner);
  return state;
}

void StoppedFamily::add(const std::shared_ptr<ProcessState>& state,
                        const std::function<void()>& before_keepers) {
  StopLast last{.threads = state->keepers, .before = before_keepers};
  auto giving_up = [&](Tracee& tracee) {
    state->calls.fix_up(tracee);
    state->calls.released();
  };
  auto tracee = std::make_unique<Tracee>(state->pid, Tracee::kStopDeadline, last, giving_up);
  processes.push_back({.state = state, .tracee = std::move(tracee), .since = Clock::now()});
}

// All registers are put right before any process runs: it could change what another one was stopped in.
void StoppedFamily::resume() {
  // One that was killed meanwhile has nothing to be put right.
  auto each = [this](const auto& action) {
    for (StoppedProcess& process : processes) {
      try {
        action(process);
      } catch (const Error& error) {
        if (processes.size() == 1 || !is_end_of(process.state->pid, error)) throw;
      }
    }
  };
  each([](StoppedProcess& process) {
    subtract_pause_from_timeouts(*process.tracee, Clock::now() - process.since);
  });
  if (const auto& keeper = processes.front().state->keeper) keeper->go_on();
  each([](StoppedProcess& process) { process.tracee->begin_release(); });
  each([](StoppedProcess& process) { process.tracee->go_on(); });
  each([](StoppedProcess& process) { process.tracee->release(); });
  for (StoppedProcess& process : processes) process.state->calls.released();
}

void StoppedFamily::give_up() noexcept {
  try {
    for (StoppedProcess& process : processes) process.state->calls.fix_up(*process.tracee);
    if (!processes.empty()) resume();
  } catch (const Error&) {
    // Killed meanwhile.
  }
  processes.clear();
}

void Session::State::meet(const std::vector<Relative>& relatives) {
  std::vector<std::shared_ptr<ProcessState>> known = processes;
  // A table that came back without a name has none in children either.
  std::set<std::uint64_t> inherited;
  for (const auto& state : known)
    inherited.insert(state->agent_addresses.begin(), state->agent_addresses.end());
  processes.resize(1);
  for (const Relative& relative : relatives) {
    if (relative.pid == pid() || relative.ended) continue;
    try {
      auto old = std::ranges::find_if(known, [&](const auto& state) {
        return state->pid == relative.pid && state->start_time == relative.start_time;
      });
      processes.push_back(old != known.end() ? *old : ProcessState::of_relative(relative.pid));
      if (old == known.end()) processes.back()->agent_addresses.assign(inherited.begin(), inherited.end());
    } catch (const Error& error) {
      if (!is_end_of(relative.pid, error)) throw;
    }
  }
}

// What could not settle may do so another time: whom it waited for has moved on.
StoppedFamily Session::State::stop(bool look, bool settle) {
  constexpr int kAttempts = 8;
  ProcessState& program = *processes.front();
  if (settle) {
    program.look_for_keeper({program.pid, program.agent_addresses, read_memory_map(program.pid)});
    program.kept = {};
  }
  if (!program.keeper) return stop_family(look, nullptr);
  for (int attempt = 1;; ++attempt) {
    try {
      settle ? program.keeper->get_ready() : program.keeper->keep_off();
      if (settle) program.kept = program.keeper->kept();
      return stop_family(look, [&] {
        if (settle) program.keeper->settle();
      });
    } catch (const NotSettled&) {
      if (attempt < kAttempts) continue;
      program.keeper->go_on();
      throw;
    } catch (const Error& error) {
      // A system call that writes more than there is room to note waits, and cannot be stopped.
      if (settle && error.code() == ETIMEDOUT && attempt < kAttempts) continue;
      program.keeper->go_on();
      throw;
    }
  }
}

void ProcessState::look_for_keeper(const AgentTables& tables) {
  keeper = Keeper::of(pid, tables);
  keepers = keeper ? keeper->threads() : std::vector<pid_t>();
}

// Parents stand still before their children: one that waits for its vfork child cannot be stopped before that
// has executed another program. What has stopped makes no new processes, so a look that finds nobody new is
// the last one.
StoppedFamily Session::State::stop_family(bool look, const std::function<void()>& before_keepers) {
  StoppedFamily family;
  try {
    stop_members(family, look, before_keepers);
  } catch (...) {
    family.give_up();
    throw;
  }
  for (StoppedProcess& process : family.processes) process.state->calls.fix_up(*process.tracee);
  return family;
}

void Session::State::stop_members(StoppedFamily& family, bool look,
                                  const std::function<void()>& before_keepers) {
  look = look || processes.size() > 1 || has_orphans(roots);
  std::string reason = "the program's processes did not stop: new ones appear all the time; try again later";
  for (auto& process : processes) process->observe_before_stop();
  family.add(processes.front(), before_keepers);
  // Returns whether there were any.
  auto stop_the_others = [&] {
    bool any = false;
    for (auto& process : processes) {
      if (std::ranges::count(family.processes, process, &StoppedProcess::state) != 0) continue;
      any = true;
      try {
        family.add(process);
      } catch (const Error& error) {
        if (!is_end_of(process->pid, error)) throw;
        reason = error.what();
      }
    }
    return any;
  };
  stop_the_others();
  while (look) {
    if (Clock::now() - family.since() > Tracee::kStopDeadline) throw Error(reason, ETIMEDOUT);
    family.relatives = list_family(roots);
    meet(family.relatives);
    look = stop_the_others();
  }
  // Somebody may have killed one of them meanwhile.
  std::erase_if(family.processes, [this](const StoppedProcess& process) {
    return std::ranges::count(processes, process.state) == 0;
  });
}

void ProcessState::observe_before_stop() {
  try {
    calls.observe_before_stop(pid);
  } catch (const Error& error) {
    if (!is_end_of(pid, error)) throw;
  }
}

Session::Session(pid_t pid) : state_(std::make_unique<State>(pid)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

pid_t Session::pid() const { return state_->pid(); }

void Session::adopt_orphans() { state_->roots.orphans = true; }

std::unique_ptr<Capture> Session::begin_capture(store::CheckpointWriter& writer, CaptureOptions options) {
  return std::make_unique<CaptureRun>(*state_, writer, std::move(options));
}

CaptureResult Session::capture(store::CheckpointWriter& writer, CaptureOptions options) {
  std::unique_ptr<Capture> capture = begin_capture(writer, std::move(options));
  while (capture->next() != Capture::Next::kDone) capture->run();
  return capture->take_result();
}

AgentTables Session::agent_tables() const {
  ProcessState& program = *state_->processes.front();
  AgentTables tables(program.pid, program.agent_addresses, read_memory_map(program.pid));
  program.look_for_keeper(tables);
  return tables;
}

void Session::look_again() {
  ProcessState& program = *state_->processes.front();
  if (program.keeper) return state_->stop(false).resume();
  program.observe_before_stop();
  StoppedFamily alone;
  alone.add(state_->processes.front());
  program.calls.fix_up(*alone.processes.front().tracee);
  alone.resume();
}

bool Session::hooks_look_again() const { return state_->processes.front()->keeper.has_value(); }

void Session::committed(store::Version version) {
  for (auto& process : state_->processes) {
    if (process->tracker) process->tracker->settled(version);
    process->excluded = process->excluded_in_last;
    process->carried = process->carried_in_last;
  }
}

void Session::hold() {
  if (!state_->held) state_->held = state_->stop(true, true);
}

bool Session::holding() const { return state_->held.has_value(); }

void Session::end_held() {
  if (state_->held) {
    for (StoppedProcess& process : state_->held->processes) process.tracee->kill_and_release();
  }
  state_->held.reset();
  // Where there is no socket any more, what a peer acknowledges late is answered by a reset.
  if (!state_->silenced.empty()) std::this_thread::sleep_for(kLatestAcknowledgement);
  for (resource::SilencedConnection& connection : state_->silenced) connection.end_silently();
  state_->silenced.clear();
}

void Session::release_held() {
  if (!state_->held) return;
  state_->silenced.clear();
  state_->held->resume();
  state_->held.reset();
}

std::vector<pid_t> Session::left_behind() const {
  std::vector<pid_t> left;
  if (state_->roots.namespace_init != 0) return left;
  for (const Relative& relative : list_family(state_->roots)) {
    if (relative.pid != pid() && !relative.ended) left.push_back(relative.pid);
  }
  return left;
}

std::optional<Clock::time_point> Session::next_deadline() const {
  constexpr std::chrono::milliseconds kLookAgainAfter{20};
  std::optional<Clock::time_point> next;
  if (have_stuck_threads()) next = Clock::now() + kLookAgainAfter;
  for (const auto& process : state_->processes) {
    auto deadline = process->calls.next_deadline();
    if (deadline && (!next || *deadline < *next)) next = deadline;
  }
  return next;
}

bool Session::take_stop(pid_t tid, int status) { return let_stuck_thread_go(tid, status); }

void Session::finish_due_calls() {
  let_stuck_threads_go();
  for (auto& process : state_->processes) {
    try {
      process->calls.finish_due(process->pid);
    } catch (const Error& error) {
      if (!is_end_of(process->pid, error)) throw;
    }
  }
}

void Session::require_limits() { Paging::check_permission(); }

void Session::limit_memory() {
  state_->paging = Paging::of_program(pid());
  state_->roots.guardian = state_->paging->fill().guardian();
  state_->buffer.limit(Paging::kBufferBytes);
}

bool Session::limited() const { return state_->paging != nullptr; }

std::uint64_t Session::resident_bytes() const {
  constexpr std::uint64_t kOurs = 32U << 20U;
  std::uint64_t ours = anonymous_bytes(::getpid());
  std::uint64_t bytes = ours - std::min(ours, kOurs);
  for (const auto& process : state_->processes) bytes += anonymous_bytes(process->pid);
  return bytes;
}

std::uint64_t Session::evict(std::uint64_t bytes) {
  ProcessState& program = *state_->processes.front();
  if (!state_->paging || !program.tracker || !program.tracker->alive()) return 0;
  std::optional<StoppedFamily> stopped;
  if (!state_->held) stopped = state_->stop(false);
  StoppedFamily& family = stopped ? *stopped : *state_->held;
  std::uint64_t evicted = state_->paging->evict(*family.processes.front().tracee, *program.tracker,
                                                unite(program.excluded, program.excluded_in_last), bytes);
  if (stopped) stopped->resume();
  return evicted;
}

void Session::serve_from(std::shared_ptr<const store::CheckpointReader> reader) {
  if (state_->paging) state_->paging->replace_version(std::move(reader));
}

bool Session::filling() const { return state_->fill != nullptr; }

int Session::fill_fd() const {
  if (state_->fill) return state_->fill->done_fd();
  return state_->paging ? state_->paging->fill().done_fd() : -1;
}

void Session::hurry_filling() {
  if (state_->fill) state_->fill->hurry();
  if (state_->paging) state_->paging->fill().hurry();
}

FillReport Session::end_filling() {
  FillReport report = state_->fill ? state_->fill->report() : state_->paging->fill().report();
  state_->fill.reset();
  state_->paging.reset();
  return report;
}

}  // namespace ckpt::engine
