#include "engine/session.h"

#include "engine/agent_tables.h"
#include "engine/capture/capture_run.h"
#include "engine/session_state.h"
#include "engine/tracee/written_back_timeouts.h"

namespace ckpt::engine {

using Clock = std::chrono::steady_clock;

void Session::State::resume(Tracee& tracee, Clock::time_point stopped) {
  subtract_pause_from_timeouts(tracee, Clock::now() - stopped);
  tracee.release();
  calls.released();
}

Session::Session(pid_t pid) : state_(std::make_unique<State>()) { state_->pid = pid; }
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

pid_t Session::pid() const { return state_->pid; }

std::unique_ptr<Capture> Session::begin_capture(store::CheckpointWriter& writer, CaptureOptions options) {
  return std::make_unique<CaptureRun>(*state_, writer, std::move(options));
}

CaptureResult Session::capture(store::CheckpointWriter& writer, CaptureOptions options) {
  std::unique_ptr<Capture> capture = begin_capture(writer, std::move(options));
  while (capture->next() != Capture::Next::kDone) capture->run();
  return capture->take_result();
}

AgentTables Session::agent_tables() const {
  return {state_->pid, state_->agent_addresses, read_memory_map(state_->pid)};
}

void Session::look_again() {
  state_->calls.observe_before_stop(state_->pid);
  Tracee tracee(state_->pid);
  state_->calls.fix_up(tracee);
  state_->resume(tracee, Clock::now());
}

void Session::committed(store::Version version) {
  if (state_->tracker) state_->tracker->settled(version);
  state_->excluded = state_->excluded_in_last;
}

bool Session::holding() const { return state_->held != nullptr; }

void Session::end_held() {
  if (state_->held) state_->held->kill_and_release();
  state_->held.reset();
}

void Session::release_held() {
  if (!state_->held) return;
  state_->resume(*state_->held, state_->held_since);
  state_->held.reset();
}

std::optional<Clock::time_point> Session::next_deadline() const { return state_->calls.next_deadline(); }
void Session::finish_due_calls() { state_->calls.finish_due(state_->pid); }

bool Session::filling() const { return state_->fill != nullptr; }
int Session::fill_fd() const { return state_->fill ? state_->fill->done_fd() : -1; }

void Session::hurry_filling() {
  if (state_->fill) state_->fill->hurry();
}

FillReport Session::end_filling() {
  FillReport report = state_->fill->report();
  state_->fill.reset();
  return report;
}

}  // namespace ckpt::engine
