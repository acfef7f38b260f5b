#include "launcher/application_status.h"

#include <fmt/format.h>

#include "base/error.h"
#include "launcher/run_lock.h"

namespace ckpt::launcher {
ApplicationStatus application_status(int directory) {
  ApplicationStatus status;
  RunState state(directory);
  status.supervisor = RunLock::holder(directory).value_or(0);
  status.ended = state.ended();
  std::optional<RunningRecord> running = state.running();
  Liveness program = running ? liveness(running->program) : Liveness::kGone;
  if (program == Liveness::kRunning || program == Liveness::kStopped) {
    status.program = running->program.pid;
    status.activity = program == Liveness::kStopped ? Activity::kStopped : Activity::kRunning;
  } else if (status.supervisor != 0) {
    status.activity = Activity::kRunning;  // being started, recovered or wound up
  } else if (status.ended) {
    status.activity = status.ended->suspended    ? Activity::kSuspended
                      : status.ended->finished() ? Activity::kFinished
                                                 : Activity::kCrashed;
  }
  return status;
}

const char* name(Activity activity) {
  switch (activity) {
    case Activity::kRunning:
      return "running";
    case Activity::kStopped:
      return "stopped";
    case Activity::kSuspended:
      return "suspended";
    case Activity::kFinished:
      return "finished";
    case Activity::kCrashed:
      return "crashed";
    case Activity::kHeap:
      return "heap";
  }
  return "?";
}

std::string describe(const ApplicationStatus& status) {
  if (status.program != 0 && status.supervisor == 0)
    return fmt::format("{} (no ckptrun)", name(status.activity));
  bool tells_end = status.activity == Activity::kFinished || status.activity == Activity::kCrashed;
  if (!tells_end || !status.ended) return name(status.activity);
  return fmt::format("{} ({})", name(status.activity), describe(status.ended->end));
}

std::string still_running_message(const std::string& name, const ApplicationStatus& status) {
  if (status.program == 0) {
    return fmt::format(
        "application {} is still running under ckptrun pid {}; end it first (kill {}) or run under "
        "another --name",
        name, status.supervisor, status.supervisor);
  }
  return fmt::format(
      "application {} is still running as pid {}; end it first (kill {}) or run under another --name", name,
      status.program, status.program);
}

void require_no_survivor(const std::string& name, int directory) {
  RunState state(directory);
  std::optional<RunningRecord> running = state.running();
  if (!running && state.has_running_file()) {
    throw Error(fmt::format(
        "the run record of application {} is damaged, so its program may still run; make sure that "
        "it does not, and remove the file 'running' from the application's directory",
        name));
  }
  if (!running || wait_until_gone(running->program)) return;
  throw Error(still_running_message(
      name, {.activity = Activity::kRunning, .program = running->program.pid, .supervisor = 0, .ended = {}}));
}

}  // namespace ckpt::launcher
