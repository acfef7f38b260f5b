// Runs a command and stops all of its threads again and again, as a checkpoint does, but without one: what
// the command then sees of it is the engine's doing alone. Ends as the command does; says on standard error
// how often it stopped.
//
//   stops_repeatedly INTERVAL COMMAND [ARG...]      INTERVAL as in 50ms
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include "base/duration.h"
#include "base/error.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"

namespace {

using Clock = std::chrono::steady_clock;

pid_t start(char** command) {
  pid_t pid = ::fork();
  if (pid < 0) ckpt::throw_errno("fork");
  if (pid == 0) {
    ::execvp(command[0], command);
    std::perror(command[0]);
    ::_exit(127);
  }
  return pid;
}

// The exit status once the command has ended.
std::optional<int> ended(pid_t pid) {
  int status = 0;
  pid_t waited = ::waitpid(pid, &status, WNOHANG);
  if (waited < 0) ckpt::throw_errno("wait for the command");
  if (waited != pid) return std::nullopt;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool is_ending(pid_t pid) {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

class Stopper {
 public:
  explicit Stopper(pid_t pid) : pid_(pid) {}

  void stop_and_release() {
    calls_.observe_before_stop(pid_);
    ckpt::engine::Tracee tracee(pid_);
    calls_.fix_up(tracee);
    tracee.release();
    calls_.released();
    ++stops_;
  }

  void finish_due_calls() { calls_.finish_due(pid_); }

  Clock::time_point next_event(Clock::time_point next_stop) const {
    return std::min(next_stop, calls_.next_deadline().value_or(next_stop));
  }

  long stops() const { return stops_; }

 private:
  pid_t pid_;
  ckpt::engine::InterruptedCalls calls_;
  long stops_ = 0;
};

int run(std::chrono::nanoseconds interval, char** command) {
  pid_t pid = start(command);
  Stopper stopper(pid);
  Clock::time_point next_stop = Clock::now() + interval;
  while (true) {
    std::this_thread::sleep_until(stopper.next_event(next_stop));
    if (std::optional<int> status = ended(pid)) {
      fmt::print(stderr, "stopped {} times\n", stopper.stops());
      return *status;
    }
    try {
      stopper.finish_due_calls();
      if (Clock::now() < next_stop) continue;
      stopper.stop_and_release();
      next_stop = Clock::now() + interval;
    } catch (const ckpt::Error&) {
      if (!is_ending(pid)) throw;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: {} INTERVAL COMMAND [ARG...]\n", argv[0]);
    return 2;
  }
  try {
    return run(ckpt::parse_duration(argv[1]), argv + 2);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", argv[0], error.what());
    return 125;
  }
}
