#include "engine/restore/new_process.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/process/family.h"
#include "engine/process/proc_status.h"
#include "engine/restore/clock_continuity.h"
#include "engine/restore/family_builder.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

constexpr long kOptions =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL;
constexpr std::chrono::seconds kBuildDeadline{120};

void expect_stop(pid_t pid, int event, BuilderLink& link) {
  auto deadline = std::chrono::steady_clock::now() + kBuildDeadline;
  for (;;) {
    std::optional<Stop> stop = wait_for_stop(pid, pid, deadline);
    if (!stop) throw Error(fmt::format("new process {} did not get ready in time", pid));
    if (stop->ended) {
      Error failure = link.failure();
      if (std::string_view(failure.what()).empty())
        throw Error("the new process was killed while its program was started");
      throw failure;
    }
    if (event != 0 ? stop->event == event : stop->is_syscall_stop()) return;
    bool delivery = stop->event == 0 && !stop->is_syscall_stop();
    if (::ptrace(PTRACE_CONT, pid, nullptr, delivery ? stop->signal : 0) != 0)
      throw_errno("continue the new process");
  }
}

// An old id that something else has by now, or 0. (/proc shows threads that it does not list.)
std::int32_t find_taken_id(const NewProcessRequest& request) {
  auto is_taken = [](std::int32_t id) { return ::access(fmt::format("/proc/{}", id).c_str(), F_OK) == 0; };
  for (const NewMember& member : request.members) {
    for (const auto& thread : member.view.checkpoint.process->threads) {
      if (is_taken(thread->tid)) return thread->tid;
    }
  }
  for (const image::ProcessT* process : request.ended) {
    if (is_taken(process->pid)) return process->pid;
  }
  return 0;
}

Spawned spawn_by_policy(SpawnRequest request, const NewProcessRequest& family, bool& old_ids,
                        std::vector<std::string>& notes) {
  PidPolicy policy = family.pids;
  std::int32_t old_pid = family.members.front().view.program_id;
  std::int32_t taken_id = find_taken_id(family);
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

// Where the processes are that were made, by the ids that they see themselves.
IdMap find_processes(const Spawned& spawned) {
  IdMap found;
  FamilyRoots roots{.program = spawned.pid, .namespace_init = spawned.init, .orphans = true};
  for (const Relative& relative : list_family(roots))
    found[ProcStatus::of_process(relative.pid).innermost("NSpid")] = relative.pid;
  return found;
}

std::vector<pid_t> made_by_builders(const NewProcess& process) {
  std::vector<pid_t> pids = process.pids;
  std::erase(pids, 0);
  return pids;
}

void trace_all(const NewProcessRequest& request, const BuilderLink& link, NewProcess& process) {
  process.pids = {process.spawned.pid};
  if (!process.old_ids) process.ids = link.ids();
  if (request.members.size() > 1) {
    IdMap found = process.old_ids ? find_processes(process.spawned) : process.ids;
    for (std::size_t i = 1; i < request.members.size(); ++i) {
      if (request.members[i].forked) {
        process.pids.push_back(0);
        continue;
      }
      std::int32_t id = request.members[i].view.checkpoint.process->pid;
      if (!found.contains(id)) throw Error(fmt::format("process {} was killed while it was made", id));
      process.pids.push_back(found[id]);
    }
  }
  for (pid_t pid : made_by_builders(process)) {
    if (::ptrace(PTRACE_SEIZE, pid, nullptr, kOptions) != 0)
      throw_errno(fmt::format("trace new process {}", pid));
  }
}

void execute_all(const NewProcess& process, BuilderLink& link) {
  std::vector<pid_t> pids = made_by_builders(process);
  link.let_go(pids.size());
  for (pid_t pid : pids) expect_stop(pid, PTRACE_EVENT_EXEC, link);
  // Behind the return from execve, so that the next system-call stop is one of a call of ours.
  for (pid_t pid : pids) {
    if (::ptrace(PTRACE_SYSCALL, pid, nullptr, 0) != 0) throw_errno("continue the new process");
    expect_stop(pid, 0, link);
  }
}

}  // namespace

NewProcess start_new_process(const NewProcessRequest& request, std::vector<std::string>& notes) {
  BuilderLink link(request);
  NewProcess process;
  SpawnRequest spawn_request;
  spawn_request.child = [&] { build_family(request, process.old_ids, link); };
  spawn_request.clocks = needed_offsets(request.members.front().view.checkpoint);
  give_up_clocks_if_refused(spawn_request, process, notes);
  process.spawned = spawn_by_policy(spawn_request, request, process.old_ids, notes);
  try {
    link.leave_to_builders();
    auto count = std::ranges::count(request.members, false, &NewMember::forked);
    link.await_ready(static_cast<std::size_t>(count), process.spawned.pid);
    trace_all(request, link, process);
    execute_all(process, link);
    return process;
  } catch (...) {
    end_new_process(process);
    throw;
  }
}

// Those that were not found yet are looked for; afterwards they would be somebody else's.
void end_new_process(const NewProcess& process) noexcept {
  std::vector<pid_t> known = made_by_builders(process);
  std::vector<pid_t> family = known;
  try {
    FamilyRoots roots{
        .program = process.spawned.pid, .namespace_init = process.spawned.init, .orphans = false};
    for (const Relative& relative : list_family(roots)) family.push_back(relative.pid);
  } catch (const std::exception&) {
    family = known;  // those that are known, then
  }
  for (pid_t pid : family) {
    if (pid != process.spawned.pid) ::kill(pid, SIGKILL);
  }
  for (pid_t pid : known) {
    if (pid != process.spawned.pid) end_spawned({.pid = pid});
  }
  end_spawned(process.spawned);
}

}  // namespace ckpt::engine
