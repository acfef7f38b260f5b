#include "launcher/timed_command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/pidfd.h"
#include "base/unique_fd.h"
#include "launcher/signal_gate.h"

namespace ckpt::launcher {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostOutput = std::size_t{64} << 10;
constexpr int kCannotExecute = 127;

struct OutputPipe {
  UniqueFd reader;
  UniqueFd writer;
};

OutputPipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("create a pipe");
  OutputPipe made{UniqueFd(ends[0]), UniqueFd(ends[1])};
  if (::fcntl(made.reader.get(), F_SETFL, O_NONBLOCK) != 0) throw_errno("set up a pipe");
  return made;
}

[[noreturn]] void become_shell(const std::string& command, const CommandEnvironment& more, int output,
                               int errors, const SignalGate& signals) {
  ::setpgid(0, 0);
  int empty = ::open("/dev/null", O_RDONLY);
  bool ready = ::dup2(empty, STDIN_FILENO) >= 0 && ::dup2(output, STDOUT_FILENO) >= 0 &&
               ::dup2(errors, STDERR_FILENO) >= 0;
  for (const auto& [name, value] : more) ready = ready && ::setenv(name.c_str(), value.c_str(), 1) == 0;
  signals.restore_for_exec();
  if (ready) ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
  ::_exit(kCannotExecute);
}

// What is there now, without waiting.
void drain(int reader, std::string& to) {
  std::array<char, 4096> buffer;
  for (;;) {
    ssize_t got = ::read(reader, buffer.data(), buffer.size());
    if (got <= 0) return;
    std::size_t room = kMostOutput - std::min(kMostOutput, to.size());
    to.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
  }
}

int status_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

}  // namespace

CommandOutcome run_command(const std::string& command, const CommandEnvironment& more,
                           std::chrono::nanoseconds limit, const SignalGate& signals) {
  OutputPipe output = make_pipe();
  OutputPipe errors = make_pipe();
  Clock::time_point deadline = Clock::now() + limit;
  pid_t pid = ::fork();
  if (pid < 0) throw_errno("fork");
  if (pid == 0) become_shell(command, more, output.writer.get(), errors.writer.get(), signals);
  ::setpgid(pid, pid);
  output.writer.reset();
  errors.writer.reset();
  UniqueFd process = open_pidfd(pid);
  CommandOutcome outcome;
  bool ended = false;
  while (!ended) {
    std::array<pollfd, 3> polled{{{.fd = process.get(), .events = POLLIN, .revents = 0},
                                  {.fd = output.reader.get(), .events = POLLIN, .revents = 0},
                                  {.fd = errors.reader.get(), .events = POLLIN, .revents = 0}}};
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    int ready =
        ::poll(polled.data(), polled.size(), static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30)));
    ended = polled[0].revents != 0;
    outcome.timed_out = !ended && ready == 0;
    drain(output.reader.get(), outcome.output);
    drain(errors.reader.get(), outcome.errors);
    if (outcome.timed_out) break;
    // A pipe whose other end is closed would be ready for ever.
    if ((polled[1].revents & (POLLIN | POLLHUP)) == POLLHUP) output.reader.reset();
    if ((polled[2].revents & (POLLIN | POLLHUP)) == POLLHUP) errors.reader.reset();
  }
  if (outcome.timed_out) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.status = status_of(status);
  return outcome;
}

}  // namespace ckpt::launcher
