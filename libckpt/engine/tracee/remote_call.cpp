#include "engine/tracee/remote_call.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ptrace.h>

#include <cerrno>
#include <chrono>

#include "base/error.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

constexpr std::chrono::seconds kCallDeadline{30};

pid_t learn_new_id(pid_t maker) {
  unsigned long message = 0;
  if (::ptrace(PTRACE_GETEVENTMSG, maker, nullptr, &message) != 0)
    throw_errno("learn the id of a new process");
  return static_cast<pid_t>(message);
}

}  // namespace

void get_registers(pid_t tid, user_regs_struct& registers) {
  if (::ptrace(PTRACE_GETREGS, tid, nullptr, &registers) != 0) {
    throw_errno(fmt::format("read registers of thread {}", tid));
  }
}

void set_registers(pid_t tid, const user_regs_struct& registers) {
  if (::ptrace(PTRACE_SETREGS, tid, nullptr, const_cast<user_regs_struct*>(&registers)) != 0) {
    throw_errno(fmt::format("write registers of thread {}", tid));
  }
}

void set_signal_mask(pid_t tid, std::uint64_t mask) {
  if (::ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) != 0) {
    throw_errno(fmt::format("write signal mask of thread {}", tid));
  }
}

std::int64_t run_syscall(pid_t pid, pid_t tid, const user_regs_struct& registers, bool* met_stop,
                         pid_t* made) {
  set_registers(tid, registers);
  auto deadline = std::chrono::steady_clock::now() + kCallDeadline;
  for (int syscall_stops = 0; syscall_stops < 2;) {
    if (::ptrace(PTRACE_SYSCALL, tid, nullptr, 0) != 0) {
      throw_errno(fmt::format("run system call {} in thread {}", registers.rax, tid));
    }
    std::optional<Stop> stop = wait_for_stop(pid, tid, deadline);
    if (!stop || stop->ended) {
      throw Error(fmt::format("system call {} in thread {} did not return; the program was killed or hangs",
                              registers.rax, tid),
                  ESRCH);
    }
    if (stop->is_syscall_stop()) ++syscall_stops;
    if (made != nullptr && (stop->event == PTRACE_EVENT_FORK || stop->event == PTRACE_EVENT_CLONE))
      *made = learn_new_id(tid);
    if (met_stop != nullptr && !stop->is_event_stop() && stop->signal == SIGSTOP) *met_stop = true;
  }
  user_regs_struct after{};
  get_registers(tid, after);
  return static_cast<std::int64_t>(after.rax);
}

}  // namespace ckpt::engine
