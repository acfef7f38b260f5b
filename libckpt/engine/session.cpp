#include "engine/session.h"

#include "engine/capture/capture.h"
#include "engine/capture/memory_map.h"
#include "engine/process/process_state.h"
#include "engine/session_state.h"
#include "engine/tracee/written_back_timeouts.h"

namespace ckpt::engine {
namespace {

using Clock = std::chrono::steady_clock;

std::uint64_t microseconds(Clock::duration duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

}  // namespace

Session::Session(pid_t pid) : state_(std::make_unique<State>()) { state_->pid = pid; }
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

pid_t Session::pid() const { return state_->pid; }

CaptureResult Session::capture(store::CheckpointWriter& writer, AfterCapture after) {
  MapFlagsTable flags = MapFlagsTable::read(state_->pid);
  state_->calls.observe_before_stop(state_->pid);

  auto started = Clock::now();
  auto tracee = std::make_unique<Tracee>(state_->pid);
  state_->calls.fix_up(*tracee);
  auto stopped = Clock::now();
  CaptureResult result = capture_stopped(*tracee, state_->calls, flags, state_->identities, writer);
  auto captured = Clock::now();
  if (after == AfterCapture::kHold) {
    state_->held = std::move(tracee);
    state_->held_since = stopped;
  } else {
    subtract_pause_from_timeouts(*tracee, Clock::now() - stopped);
    tracee->release();
    state_->calls.released();
  }
  auto released = Clock::now();
  result.stats.freezing_time_us = microseconds(stopped - started);
  result.stats.memdump_time_us = microseconds(captured - stopped);
  result.stats.frozen_time_us = microseconds(released - started);
  return result;
}

void Session::end_held() {
  if (state_->held) state_->held->kill_and_release();
  state_->held.reset();
}

void Session::release_held() {
  if (!state_->held) return;
  subtract_pause_from_timeouts(*state_->held, Clock::now() - state_->held_since);
  state_->held->release();
  state_->held.reset();
  state_->calls.released();
}

std::optional<Clock::time_point> Session::next_deadline() const { return state_->calls.next_deadline(); }
void Session::finish_due_calls() { state_->calls.finish_due(state_->pid); }

}  // namespace ckpt::engine
