#include "engine/restore/namespaces.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <exception>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "base/pidfd.h"
#include "base/thread_list.h"
#include "engine/capture/clock_offsets.h"

namespace ckpt::engine {
namespace {

// Threads that we trace have to be reaped by us; until then their process cannot be either.
void reap_threads(pid_t pid) {
  for (pid_t tid : list_threads(pid)) {
    if (tid != pid) ::waitpid(tid, nullptr, __WALL | WNOHANG);
  }
}

void end_process(pid_t pid) {
  if (pid <= 0) return;
  ::kill(pid, SIGKILL);
  for (;;) {
    int status = 0;
    pid_t reaped = ::waitpid(pid, &status, __WALL | WNOHANG);
    if (reaped < 0 && errno != EINTR) return;
    if (reaped == pid && (WIFEXITED(status) || WIFSIGNALED(status))) return;
    reap_threads(pid);
    timespec pause{.tv_sec = 0, .tv_nsec = 100'000};
    ::nanosleep(&pause, nullptr);
  }
}

// What the helper that makes the namespaces reports back through a pipe.
struct HelperReport {
  pid_t pid;
  pid_t init;
  int error;
  std::array<char, 128> attempt;
};

pid_t clone_process(std::uint64_t flags, std::optional<pid_t> wanted_pid) {
  pid_t ids[1] = {wanted_pid.value_or(0)};
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  if (wanted_pid) {
    arguments.set_tid = reinterpret_cast<std::uintptr_t>(ids);
    arguments.set_tid_size = 1;
  }
  // With CLONE_PARENT the exit signal is the caller's own, and clone3 wants it to be 0 here.
  if ((flags & CLONE_PARENT) != 0) arguments.exit_signal = 0;
  return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

void write_file(const char* path, const std::string& text) {
  UniqueFd fd = open_or_throw(path, O_WRONLY);
  if (::write(fd.get(), text.data(), text.size()) < 0)
    throw_errno(fmt::format("write '{}' to {}", text, path));
}

// The only capability that setting thread ids after execve needs; it survives execve as an ambient one and is
// given up by every thread before the program runs.
void keep_restore_capability() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) throw_errno("read capabilities");
  data[CAP_CHECKPOINT_RESTORE / 32].inheritable |= 1U << (CAP_CHECKPOINT_RESTORE % 32);
  if (::syscall(SYS_capset, &header, data.data()) != 0) throw_errno("keep the capability to restore ids");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHECKPOINT_RESTORE, 0, 0) != 0) {
    throw_errno("keep the capability to restore ids");
  }
}

std::string offset_line(const char* clock, std::int64_t offset_ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  std::int64_t seconds = offset_ns / kSecond;
  std::int64_t rest = offset_ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  return fmt::format("{} {} {}\n", clock, seconds, rest);
}

void enter_namespaces(const SpawnRequest& request, bool user_namespace) {
  uid_t uid = ::geteuid();
  gid_t gid = ::getegid();
  int flags = (user_namespace ? CLONE_NEWUSER : 0) | (request.pid_namespace ? CLONE_NEWPID : 0) |
              (request.clocks ? CLONE_NEWTIME : 0);
  if (::unshare(flags) != 0) throw_errno("make namespaces for the program's ids and clocks");
  if (user_namespace) {
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", fmt::format("{} {} 1", uid, uid));
    write_file("/proc/self/gid_map", fmt::format("{} {} 1", gid, gid));
  }
  if (request.clocks) {
    write_file("/proc/self/timens_offsets", offset_line("monotonic", request.clocks->monotonic_ns) +
                                                offset_line("boottime", request.clocks->boottime_ns));
  }
}

// The first process of a pid namespace adopts orphans and ends after the program (`program_pipe` brings its
// id) and what is left of the program's family: the kernel kills whatever outlives it. Signals of the
// terminal do not reach it, because the first process of a namespace ignores what it does not handle.
[[noreturn]] void run_init(int program_pipe) {
  ::prctl(PR_SET_NAME, "ckpt-init");
  ::signal(SIGCHLD, SIG_IGN);  // the kernel reaps its children
  // Nothing of ours may stay open or busy because of it.
  if (::dup2(program_pipe, 0) != 0 || ::close_range(1, ~0U, 0) != 0 || ::chdir("/") != 0) ::_exit(1);
  pid_t program = 0;
  if (::read(0, &program, sizeof(program)) != sizeof(program)) ::_exit(1);
  UniqueFd pidfd = open_pidfd(program);
  if (!pidfd) ::_exit(0);
  ::close(0);
  pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  while (::poll(&ended, 1, -1) < 0 && errno == EINTR) {
  }
  while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR) {
  }
  ::_exit(0);
}

// Must not return into the code of its maker.
[[noreturn]] void become_child(const SpawnRequest& request, bool user_namespace) noexcept {
  try {
    if (user_namespace) keep_restore_capability();
    request.child();
  } catch (const Error&) {
    ::_exit(125);
  }
  ::_exit(125);
}

void make_processes(const SpawnRequest& request, bool user_namespace, HelperReport& report) {
  std::array<int, 2> init_pipe{-1, -1};
  if (request.pid_namespace) {
    if (::pipe2(init_pipe.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
    report.init = clone_process(CLONE_PARENT, std::nullopt);
    if (report.init < 0) throw_errno("start the first process of the pid namespace");
    if (report.init == 0) run_init(init_pipe[0]);
  }
  report.pid = clone_process(CLONE_PARENT, request.wanted_pid);
  if (report.pid < 0) throw_errno(fmt::format("make process {}", request.wanted_pid.value_or(0)));
  if (report.pid == 0) become_child(request, user_namespace);
  // The first process sees the program by its inner id, which is the wanted one.
  pid_t inner = request.wanted_pid.value_or(0);
  if (request.pid_namespace && ::write(init_pipe[1], &inner, sizeof(inner)) < 0)
    throw_errno("tell the first process");
}

[[noreturn]] void run_helper(const SpawnRequest& request, bool user_namespace, int report_pipe) {
  HelperReport report{};
  try {
    enter_namespaces(request, user_namespace);
    if (request.child) make_processes(request, user_namespace, report);
  } catch (const Error& error) {
    report.error = error.code() == 0 ? EINVAL : error.code();
    std::string text = error.what();
    text.copy(report.attempt.data(), report.attempt.size() - 1);
  }
  if (::write(report_pipe, &report, sizeof(report)) < 0) ::_exit(1);
  ::_exit(0);
}

Spawned spawn_in_namespaces(const SpawnRequest& request) {
  bool user_namespace = ::geteuid() != 0;
  std::array<int, 2> pipe{-1, -1};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
  UniqueFd reading(pipe[0]);
  UniqueFd writing(pipe[1]);
  pid_t helper = clone_process(0, std::nullopt);
  if (helper < 0) throw_errno("fork");
  if (helper == 0) run_helper(request, user_namespace, writing.get());
  writing.reset();
  HelperReport report{};
  ssize_t got = ::read(reading.get(), &report, sizeof(report));
  ::waitpid(helper, nullptr, __WALL);
  if (got == sizeof(report) && report.error == 0) {
    return {.pid = report.pid, .init = report.init, .in_user_namespace = user_namespace};
  }
  end_spawned({.pid = report.pid, .init = report.init});
  throw Error(got == sizeof(report) ? report.attempt.data() : "the helper that makes namespaces died",
              report.error == 0 ? ECHILD : report.error);
}

}  // namespace

Spawned spawn(const SpawnRequest& request) {
  if (request.pid_namespace || request.clocks) return spawn_in_namespaces(request);
  pid_t pid = clone_process(0, request.wanted_pid);
  if (pid < 0) throw_errno(fmt::format("make process {}", request.wanted_pid.value_or(0)));
  if (pid == 0) become_child(request, false);
  return {.pid = pid};
}

void require_time_namespace(const ClockOffsets& clocks) {
  spawn_in_namespaces({.wanted_pid = std::nullopt, .clocks = clocks, .child = nullptr});
}

// The program first: the first process of a namespace waits for all others to be reaped.
void end_spawned(const Spawned& spawned) noexcept {
  end_process(spawned.pid);
  end_process(spawned.init);
}

}  // namespace ckpt::engine
