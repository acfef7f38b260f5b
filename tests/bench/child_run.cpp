#include "child_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <optional>

#include "base/error.h"
#include "base/file_io.h"
#include "launcher/control_client.h"

namespace ckpt::bench {
namespace {

constexpr std::chrono::minutes kPatience{10};

[[noreturn]] void become(const std::vector<std::string>& command, int output, int errors) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, 0);
  ::dup2(output, 1);
  ::dup2(errors, 2);
  ::close_range(3, UINT_MAX, 0);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

std::vector<std::string> command_line(const Settings& settings, const std::vector<std::string>& options) {
  std::vector<std::string> command{settings.binaries + "/ckptrun", "-v", "--store", store_of(settings)};
  command.insert(command.end(), settings.ckptrun_options.begin(), settings.ckptrun_options.end());
  command.insert(command.end(), options.begin(), options.end());
  return command;
}

std::vector<std::string> to_run(const Settings& settings, const std::string& name,
                                const std::vector<std::string>& options,
                                const std::vector<std::string>& program) {
  std::vector<std::string> command = command_line(settings, options);
  command.insert(command.end(), {"--name", name, "--"});
  command.insert(command.end(), program.begin(), program.end());
  return command;
}

std::vector<std::string> to_recover(const Settings& settings, const std::string& name,
                                    const std::vector<std::string>& options) {
  std::vector<std::string> command = command_line(settings, options);
  command.insert(command.end(), {"--recover", name});
  return command;
}

}  // namespace

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }
double milliseconds(Clock::duration duration) { return seconds(duration) * 1e3; }
std::string store_of(const Settings& settings) { return settings.directory + "/store"; }

ChildRun::ChildRun(const std::vector<std::string>& command, const std::string& error_file)
    : name_(command.front()), error_file_(error_file) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
  output_ = UniqueFd(pipe[0]);
  UniqueFd its_output(pipe[1]);
  UniqueFd errors = open_or_throw(error_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  started_ = Clock::now();
  pid_ = ::fork();
  if (pid_ < 0) throw_errno("fork");
  if (pid_ == 0) become(command, its_output.get(), errors.get());
}

ChildRun::~ChildRun() { kill(); }

void ChildRun::fail(const std::string& what) const {
  throw Error(fmt::format("{} {}; its last words: {}", name_, what, read_file(error_file_)));
}

// False at the end of the output.
bool ChildRun::read_more(Clock::time_point deadline) {
  std::array<char, 4096> buffer;
  pollfd polled{.fd = output_.get(), .events = POLLIN, .revents = 0};
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  if (::poll(&polled, 1, static_cast<int>(std::max<long>(left, 0))) <= 0)
    fail("does not say what was expected");
  arrived_ = Clock::now();
  ssize_t got = ::read(output_.get(), buffer.data(), buffer.size());
  if (got > 0) unread_.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0;
}

ChildRun::Line ChildRun::wait_for_line(std::string_view prefix) {
  const Clock::time_point deadline = Clock::now() + kPatience;
  for (;;) {
    for (std::size_t end = 0; (end = unread_.find('\n')) != std::string::npos;) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      if (line.starts_with(prefix)) return {.text = std::move(line), .when = arrived_};
    }
    if (!read_more(deadline)) fail(fmt::format("ended without '{}'", prefix));
  }
}

int ChildRun::wait() {
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) throw_errno("wait for " + name_);
  pid_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void ChildRun::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

SupervisedRun::SupervisedRun(const Settings& settings, const std::string& name,
                             const std::vector<std::string>& options, const std::vector<std::string>& command)
    : store_(store_of(settings)),
      name_(name),
      error_file_(settings.directory + "/" + name + ".err"),
      child_(to_run(settings, name, options, command), error_file_) {}

SupervisedRun::SupervisedRun(const Settings& settings, const std::string& name,
                             const std::vector<std::string>& options)
    : store_(store_of(settings)),
      name_(name),
      error_file_(settings.directory + "/" + name + ".err"),
      child_(to_recover(settings, name, options), error_file_) {}

// An exception may have left it running.
SupervisedRun::~SupervisedRun() {
  try {
    if (child_.pid() > 0) kill();
  } catch (const std::exception&) {
    child_.kill();
  }
}

nlohmann::json SupervisedRun::ask(launcher::ControlCommand command) {
  UniqueFd directory = open_or_throw(store_ + "/" + name_, O_RDONLY | O_DIRECTORY);
  launcher::ControlRequest request{.command = command};
  std::optional<nlohmann::json> reply = launcher::ask_supervisor(directory.get(), request);
  if (!reply) throw Error(fmt::format("no supervisor listens for {}: {}", name_, error_output()));
  return *reply;
}

nlohmann::json SupervisedRun::checkpoint() { return ask(launcher::ControlCommand::kCheckpoint); }

pid_t SupervisedRun::program_pid() { return ask(launcher::ControlCommand::kStatus).at("pid").get<pid_t>(); }

std::vector<store::VersionEntry> SupervisedRun::versions() const {
  return store::Store::open(store_, false).application(name_)->versions();
}

bool SupervisedRun::has_version() const { return !versions().empty(); }

store::VersionEntry SupervisedRun::newest_version() const {
  std::vector<store::VersionEntry> all = versions();
  if (all.empty()) throw Error(fmt::format("{} has no version", name_));
  return std::move(all.back());
}

double SupervisedRun::peak_supervisor_mib() const {
  const std::string status = read_file(fmt::format("/proc/{}/status", child_.pid()));
  const std::size_t at = status.find("VmHWM:");
  if (at == std::string::npos) throw Error("the supervisor has no VmHWM; has it ended?");
  return std::stod(status.substr(at + 6)) / 1024;
}

std::string SupervisedRun::error_output() const { return read_file(error_file_); }

// ckptrun ends when it has seen its program end, so nothing of the two is left.
void SupervisedRun::kill() {
  ::kill(program_pid(), SIGKILL);
  child_.wait();
}

void SupervisedRun::forget() {
  kill();
  store::Store::open(store_, false).remove_application(name_);
}

}  // namespace ckpt::bench
