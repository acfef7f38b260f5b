// A command of the user, run by the shell with a time limit.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace ckpt::launcher {

class SignalGate;

struct CommandOutcome {
  int status = 0;  // as of the shell: 128 + N for signal N
  bool timed_out = false;
  std::string output;  // standard output; its first 64 KiB
  std::string errors;  // standard error, likewise

  bool succeeded() const { return status == 0 && !timed_out; }
};

using CommandEnvironment = std::vector<std::pair<std::string, std::string>>;

// Runs `command` with /bin/sh in a process group of its own, standard input being empty, with `more` added to
// our environment, and waits until it has ended. Then no more output is waited for: it may have left
// something running in the background. At the limit the whole group is killed. Throws Error if it could not
// be started.
CommandOutcome run_command(const std::string& command, const CommandEnvironment& more,
                           std::chrono::nanoseconds limit, const SignalGate& signals);

}  // namespace ckpt::launcher
