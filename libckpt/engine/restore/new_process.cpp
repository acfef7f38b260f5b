#include "engine/restore/new_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>

#include "base/error.h"
#include "engine/process/process_state.h"
#include "engine/resource/descriptors.h"
#include "engine/restore/clock_continuity.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

constexpr long kOptions =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
constexpr std::chrono::seconds kBuildDeadline{120};

// Both pipes live at or above the scratch base, so that they are never in the way of the program's
// descriptors.
struct Pipe {
  UniqueFd reading;
  UniqueFd writing;
};

Pipe make_pipe(int scratch_base) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  Pipe pipe{.reading = UniqueFd(::fcntl(reading.get(), F_DUPFD_CLOEXEC, scratch_base)),
            .writing = UniqueFd(::fcntl(writing.get(), F_DUPFD_CLOEXEC, scratch_base))};
  if (!pipe.reading || !pipe.writing) throw_errno("make a pipe above the program's descriptors");
  return pipe;
}

// All of them: sigprocmask() of libc leaves out the two that it uses itself, and a timer may send those.
void block_all_signals() {
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &kAll, nullptr, sizeof(kAll));
}

// In the new process. Errors go back through the pipe as text; execve closes it, which is the sign of
// success.
[[noreturn]] void become_program(const NewProcessRequest& request, const Pipe& go, const Pipe& report) {
  std::string failure;
  int code = 0;
  try {
    // Or nobody would be missed: the end of ckptrun is to end this process too.
    ::close(go.writing.get());
    char byte = 0;
    if (::read(go.reading.get(), &byte, 1) != 1) ::_exit(125);
    block_all_signals();
    std::vector<int> keep = request.kept_descriptors;
    keep.push_back(report.writing.get());
    RestoreObjects objects{.object_descriptors = request.object_descriptors, .sockets = request.sockets};
    restore_descriptors(request.checkpoint, objects, request.scratch_base, keep);
    apply_before_exec(*request.checkpoint.process);
    for (int fd : request.kept_descriptors) ::fcntl(fd, F_SETFD, 0);
    std::string path = request.program_file;
    std::array<char*, 2> arguments{path.data(), nullptr};
    std::array<char*, 1> environment{nullptr};
    ::execve(path.c_str(), arguments.data(), environment.data());
    throw_errno(fmt::format("execute {}", path));
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (::write(report.writing.get(), failure.data(), failure.size()) < 0) code = errno;
  ::_exit(code == 0 ? 125 : 124);
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 512> buffer;
  for (ssize_t got = 0; (got = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

void expect_stop(pid_t pid, int event, int failure_pipe) {
  auto deadline = std::chrono::steady_clock::now() + kBuildDeadline;
  for (;;) {
    std::optional<Stop> stop = wait_for_stop(pid, pid, deadline);
    if (!stop) throw Error(fmt::format("new process {} did not get ready in time", pid));
    if (stop->ended) {
      std::string text = read_all(failure_pipe);
      throw Error(text.empty() ? "the new process was killed while its descriptors were made" : text);
    }
    if (event != 0 ? stop->event == event : stop->is_syscall_stop()) return;
    bool delivery = stop->event == 0 && !stop->is_syscall_stop();
    if (::ptrace(PTRACE_CONT, pid, nullptr, delivery ? stop->signal : 0) != 0)
      throw_errno("continue the new process");
  }
}

// An old thread id that something else has by now, or 0. (/proc shows threads that it does not list.)
std::int32_t find_taken_id(const image::ProcessT& process) {
  auto taken = std::ranges::find_if(process.threads, [](const auto& thread) {
    return ::access(fmt::format("/proc/{}", thread->tid).c_str(), F_OK) == 0;
  });
  return taken == process.threads.end() ? 0 : (*taken)->tid;
}

Spawned spawn_by_policy(SpawnRequest request, const image::ProcessT& program, PidPolicy policy, bool& old_ids,
                        std::vector<std::string>& notes) {
  std::int32_t old_pid = program.pid;
  std::int32_t taken_id = find_taken_id(program);
  old_ids = true;
  request.wanted_pid = old_pid;
  if (policy == PidPolicy::kAuto || policy == PidPolicy::kKeep) {
    try {
      if (taken_id != 0) throw Error(fmt::format("id {} is taken", taken_id), EEXIST);
      return spawn(request);
    } catch (const Error& error) {
      bool expected = error.code() == EEXIST || error.code() == EPERM || error.code() == EINVAL;
      if (policy == PidPolicy::kKeep || !expected) {
        throw Error(
            fmt::format("the old process id {} cannot be had ({}); use --pids namespace or --pids new",
                        old_pid, error.what()),
            error.code());
      }
    }
  }
  if (policy != PidPolicy::kNew) {
    try {
      request.pid_namespace = true;
      return spawn(request);
    } catch (const Error& error) {
      if (policy == PidPolicy::kNamespace) {
        throw Error(fmt::format("no pid namespace ({}); use --pids keep or --pids new", error.what()),
                    error.code());
      }
      notes.push_back(
          fmt::format("neither the old ids nor a pid namespace ({}), hence new ids", error.what()));
    }
  }
  old_ids = false;
  request.pid_namespace = false;
  request.wanted_pid.reset();
  return spawn(request);
}

// Asked before anything else, so that the clocks never decide about the ids.
void give_up_clocks_if_refused(SpawnRequest& request, NewProcess& process, std::vector<std::string>& notes) {
  if (!request.clocks) return;
  try {
    require_time_namespace(*request.clocks);
  } catch (const Error& error) {
    process.clock_jump = jump_without(*request.clocks);
    request.clocks.reset();
    constexpr double kSecond = 1e9;
    notes.push_back(fmt::format(
        "no time namespace ({}); the program's monotonic clock jumps by {:.3f} s, deadlines of waiting calls "
        "are moved with it",
        error.what(), static_cast<double>(process.clock_jump->monotonic_ns) / kSecond));
  }
}

}  // namespace

NewProcess start_new_process(const NewProcessRequest& request, std::vector<std::string>& notes) {
  Pipe go = make_pipe(request.scratch_base);
  Pipe report = make_pipe(request.scratch_base);
  const image::CheckpointT& checkpoint = request.checkpoint;
  SpawnRequest spawn_request;
  spawn_request.child = [&] { become_program(request, go, report); };

  NewProcess process;
  spawn_request.clocks = needed_offsets(checkpoint);
  give_up_clocks_if_refused(spawn_request, process, notes);
  process.spawned = spawn_by_policy(spawn_request, *checkpoint.process, request.pids, process.old_ids, notes);
  pid_t pid = process.spawned.pid;
  try {
    report.writing.reset();
    if (::ptrace(PTRACE_SEIZE, pid, nullptr, kOptions) != 0)
      throw_errno(fmt::format("trace new process {}", pid));
    if (::write(go.writing.get(), "g", 1) != 1) throw_errno("start the new process");
    expect_stop(pid, PTRACE_EVENT_EXEC, report.reading.get());
    // Behind the return from execve, so that the next system-call stop is one of a call of ours.
    if (::ptrace(PTRACE_SYSCALL, pid, nullptr, 0) != 0) throw_errno("continue the new process");
    expect_stop(pid, 0, report.reading.get());
    return process;
  } catch (...) {
    end_spawned(process.spawned);
    throw;
  }
}

}  // namespace ckpt::engine
