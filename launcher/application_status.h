// What an application is doing now, judged from its lock and its records.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "launcher/run_state.h"

namespace ckpt::launcher {

enum class Activity {
  kRunning,    // with or without its supervisor
  kStopped,    // by job control
  kSuspended,  // checkpointed and ended on purpose
  kFinished,   // exited by itself
  kCrashed,    // killed, or gone without a word
  kHeap,       // no program at all
};

struct ApplicationStatus {
  Activity activity = Activity::kCrashed;
  pid_t program = 0;     // 0: none alive
  pid_t supervisor = 0;  // 0: none alive
  std::optional<EndRecord> ended;

  bool alive() const { return activity == Activity::kRunning || activity == Activity::kStopped; }
};

// Looks without waiting. Not for an application whose lock this process holds.
ApplicationStatus application_status(int directory);

const char* name(Activity activity);
std::string describe(const ApplicationStatus& status);  // "running", "finished (exit status 0)", ...

// The refusal for an application that is alive, cause first: "application NAME is still running as pid P;
// ...".
std::string still_running_message(const std::string& name, const ApplicationStatus& status);

// Throws that refusal if the program of an earlier run is alive. For the holder of the lock: a program that
// is just ending is waited for.
void require_no_survivor(const std::string& name, int directory);

}  // namespace ckpt::launcher
