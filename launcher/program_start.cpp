#include "launcher/program_start.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>

#include "agent/agent_table.h"
#include "base/error.h"
#include "base/parse.h"
#include "launcher/exit_codes.h"
#include "launcher/signal_gate.h"

namespace ckpt::launcher {
namespace {

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("create a pipe");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

ssize_t read_retrying(int fd, void* buffer, std::size_t size) {
  for (;;) {
    ssize_t got = ::read(fd, buffer, size);
    if (got >= 0 || errno != EINTR) return got;
  }
}

// Runs in the child, which shares nothing with the parent but descriptors. Signals stay blocked until the
// moment of exec, so a signal forwarded early meets either the dispositions that we found, or the program.
[[noreturn]] void become_program(char* const* argv, const ProgramEnvironment& environment, int permission,
                                 int failure, const SignalGate& signals) {
  std::string run = fmt::format("{}:{}", ::getpid(), environment.directory);
  bool set = ::setenv(agent::kRunVariable, run.c_str(), 1) == 0;
  if (!environment.preload.empty()) set = ::setenv("LD_PRELOAD", environment.preload.c_str(), 1) == 0 && set;
  if (!environment.tunables.empty())
    set = ::setenv("GLIBC_TUNABLES", environment.tunables.c_str(), 1) == 0 && set;
  if (environment.small_pages) set = ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 && set;
  rlimit data{.rlim_cur = environment.most_data, .rlim_max = environment.most_data};
  if (environment.most_data != 0) set = ::setrlimit(RLIMIT_DATA, &data) == 0 && set;
  if (!set) ::_exit(kExitOwnFailure);
  char go = 0;
  if (read_retrying(permission, &go, 1) != 1) ::_exit(kExitOwnFailure);
  signals.restore_for_exec();
  ::execvp(argv[0], argv);
  int code = errno;
  [[maybe_unused]] ssize_t put = ::write(failure, &code, sizeof code);
  ::_exit(exit_code_for_exec_error(code));
}

}  // namespace

PendingProgram::PendingProgram(const std::vector<std::string>& command, const SignalGate& signals,
                               const ProgramEnvironment& environment)
    : program_(command.at(0)) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Pipe permission = make_pipe();
  Pipe failure = make_pipe();
  pid_ = ::fork();
  if (pid_ < 0) throw_errno("fork");
  if (pid_ == 0) {
    permission.writer.reset();
    become_program(argv.data(), environment, permission.reader.get(), failure.writer.get(), signals);
  }
  permission_ = std::move(permission.writer);
  failure_ = std::move(failure.reader);
}

PendingProgram::~PendingProgram() {
  if (!permission_) return;
  permission_.reset();
  reap();
}

void PendingProgram::reap() {
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void PendingProgram::release() {
  char go = 1;
  ssize_t put = ::write(permission_.get(), &go, 1);
  int code = put == 1 ? 0 : errno;
  permission_.reset();
  if (code == 0 && read_retrying(failure_.get(), &code, sizeof code) != static_cast<ssize_t>(sizeof code))
    code = 0;
  failure_.reset();
  if (code == 0) return;
  reap();
  throw ExitError(
      fmt::format("start {}: {}; check the file and, for a script, the interpreter in its first line",
                  program_, describe_errno(code)),
      exit_code_for_exec_error(code));
}

void close_inherited_descriptors() {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/self/fd"), ::closedir);
  if (directory == nullptr) return;
  std::vector<int> inherited;
  while (const dirent* entry = ::readdir(directory.get())) {
    std::optional<std::uint64_t> number = parse_unsigned(entry->d_name);
    if (!number || *number <= STDERR_FILENO) continue;
    int fd = static_cast<int>(*number);
    int flags = ::fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) inherited.push_back(fd);
  }
  for (int fd : inherited) ::close(fd);
}

void occupy_standard_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free number is taken, and that is `fd`.
    if (::open("/dev/null", O_RDWR | O_CLOEXEC) < 0) throw_errno("open /dev/null");
  }
}

}  // namespace ckpt::launcher
