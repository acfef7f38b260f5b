#include "launcher/claimed_application.h"

#include <algorithm>

#include "base/error.h"
#include "launcher/application_status.h"
#include "launcher/image_summary.h"
#include "launcher/naming.h"
#include "launcher/recover_selection.h"

namespace ckpt::launcher {
namespace {

bool has_survivor(int directory) {
  std::optional<RunningRecord> running = RunState(directory).running();
  return running && !wait_until_gone(running->program);
}

}  // namespace

ClaimedApplication claim_for_program(std::unique_ptr<store::Application> application) {
  std::vector<store::VersionEntry> versions = application->versions();
  if (!versions.empty()) require_program(application->name(), versions.back().description);
  return claim(std::move(application));
}

ClaimedApplication claim(std::unique_ptr<store::Application> application) {
  std::optional<RunLock> lock = RunLock::try_acquire(application->directory());
  if (!lock) {
    throw Error(still_running_message(application->name(), application_status(application->directory())));
  }
  require_no_survivor(application->name(), application->directory());
  return {.lock = std::move(*lock), .application = std::move(application)};
}

ClaimedApplication claim_for_fresh_run(store::Store& store, const std::optional<std::string>& explicit_name,
                                       const std::vector<std::string>& command) {
  if (explicit_name) return claim_for_program(store.create_application(*explicit_name));
  std::string base = name_for_program(command.at(0));
  for (unsigned number = 1;; ++number) {
    std::unique_ptr<store::Application> application = store.create_application(numbered_name(base, number));
    if (!same_program(application->versions(), command)) continue;
    std::optional<RunLock> lock = RunLock::try_acquire(application->directory());
    if (!lock || has_survivor(application->directory())) continue;
    return {.lock = std::move(*lock), .application = std::move(application)};
  }
}

std::optional<std::string> find_resumable(const store::Store& store,
                                          const std::optional<std::string>& explicit_name,
                                          const std::vector<std::string>& command) {
  std::string base = explicit_name.value_or(name_for_program(command.at(0)));
  for (unsigned number = 1;; ++number) {
    std::string name = numbered_name(base, number);
    if (!store.contains(name)) return std::nullopt;
    Candidate candidate = load_candidate(*store.application(name));
    if (explicit_name) return resumable(candidate) ? std::optional(name) : std::nullopt;
    bool ours = !candidate.versions.empty() && same_program(candidate.versions, command);
    if (ours && resumable(candidate)) return name;
  }
}

}  // namespace ckpt::launcher
