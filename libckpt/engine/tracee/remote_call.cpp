#include "engine/tracee/remote_call.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ptrace.h>

#include <cerrno>
#include <optional>

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

CallUnderWay::CallUnderWay(pid_t pid, pid_t tid, const user_regs_struct& registers)
    : pid_(pid),
      tid_(tid),
      number_(registers.rax),
      deadline_(std::chrono::steady_clock::now() + kCallDeadline) {
  set_registers(tid, registers);
  go_on();
}

void CallUnderWay::go_on() {
  if (::ptrace(PTRACE_SYSCALL, tid_, nullptr, 0) != 0)
    throw_errno(fmt::format("run system call {} in thread {}", number_, tid_));
}

void CallUnderWay::pass_stop() {
  std::optional<Stop> stop = wait_for_stop(pid_, tid_, deadline_);
  if (!stop || stop->ended) {
    throw Error(fmt::format("system call {} in thread {} did not return; the program was killed or hangs",
                            number_, tid_),
                ESRCH);
  }
  if (stop->is_syscall_stop()) ++syscall_stops_;
  if (stop->event == PTRACE_EVENT_FORK || stop->event == PTRACE_EVENT_CLONE) made_ = learn_new_id(tid_);
  met_stop_ |= !stop->is_event_stop() && stop->signal == SIGSTOP;
}

void CallUnderWay::enter() {
  for (; syscall_stops_ < 1; go_on()) pass_stop();
}

std::int64_t CallUnderWay::finish() {
  enter();
  for (pass_stop(); syscall_stops_ < 2; pass_stop()) go_on();
  user_regs_struct after{};
  get_registers(tid_, after);
  return static_cast<std::int64_t>(after.rax);
}

std::int64_t run_syscall(pid_t pid, pid_t tid, const user_regs_struct& registers, bool* met_stop,
                         pid_t* made) {
  CallUnderWay call(pid, tid, registers);
  std::int64_t result = call.finish();
  if (met_stop != nullptr) *met_stop |= call.met_stop();
  if (made != nullptr && call.made() != 0) *made = call.made();
  return result;
}

}  // namespace ckpt::engine
