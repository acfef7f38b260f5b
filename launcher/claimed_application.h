// An application that this process holds the lock of, ready to be run.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/run_lock.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// The lock goes last: whoever waits for it finds everything else in order.
struct ClaimedApplication {
  RunLock lock;
  std::unique_ptr<store::Application> application;
};

// Throws Error if the application is being run, with or without its supervisor.
ClaimedApplication claim(std::unique_ptr<store::Application> application);
// Throws Error also where it is a heap.
ClaimedApplication claim_for_program(std::unique_ptr<store::Application> application);

// For a fresh run: `explicit_name`, or the first of NAME, NAME-2, NAME-3, ... that is neither running nor
// holds versions of another command line.
ClaimedApplication claim_for_fresh_run(store::Store& store, const std::optional<std::string>& explicit_name,
                                       const std::vector<std::string>& command);

// For --recover-or-run: the application that holds something to resume for this command line (or of that
// name); empty if there is none.
std::optional<std::string> find_resumable(const store::Store& store,
                                          const std::optional<std::string>& explicit_name,
                                          const std::vector<std::string>& command);

}  // namespace ckpt::launcher
