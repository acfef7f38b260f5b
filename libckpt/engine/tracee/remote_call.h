#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <chrono>
#include <cstdint>

namespace ckpt::engine {

void get_registers(pid_t tid, user_regs_struct& registers);
void set_registers(pid_t tid, const user_regs_struct& registers);
void set_signal_mask(pid_t tid, std::uint64_t mask);

// The system call that `registers` stand in front of (at a `syscall` instruction), begun in a stopped thread,
// which is left stopped after the call, with its registers changed. It must have PTRACE_O_TRACESYSGOOD set
// and all signals blocked; SIGSTOP, which cannot be, is passed over.
class CallUnderWay {
 public:
  CallUnderWay(pid_t pid, pid_t tid, const user_regs_struct& registers);

  // Waits until the thread has entered the call, and lets it make it. Need not be asked for: it is for those
  // who have several threads make calls side by side.
  void enter();
  // Waits for its end; returns the kernel's value.
  std::int64_t finish();

  bool met_stop() const { return met_stop_; }
  // The id of a process that the call has made and that is traced from its birth (PTRACE_O_TRACEFORK,
  // PTRACE_O_TRACECLONE); 0 if there is none.
  pid_t made() const { return made_; }

 private:
  void go_on();
  void pass_stop();

  pid_t pid_;
  pid_t tid_;
  std::uint64_t number_;
  std::chrono::steady_clock::time_point deadline_;
  int syscall_stops_ = 0;
  bool met_stop_ = false;
  pid_t made_ = 0;
};

// Runs such a call. `met_stop`, `made`: as above, if given.
std::int64_t run_syscall(pid_t pid, pid_t tid, const user_regs_struct& registers, bool* met_stop = nullptr,
                         pid_t* made = nullptr);

}  // namespace ckpt::engine
