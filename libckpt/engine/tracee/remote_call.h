#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>

namespace ckpt::engine {

void get_registers(pid_t tid, user_regs_struct& registers);
void set_registers(pid_t tid, const user_regs_struct& registers);
void set_signal_mask(pid_t tid, std::uint64_t mask);

// Runs the system call that `registers` stand in front of (at a `syscall` instruction) in a stopped thread,
// and returns the kernel's value. The thread is left stopped after the call, with its registers changed. It
// must have PTRACE_O_TRACESYSGOOD set and all signals blocked. SIGSTOP, which cannot be, is passed over and
// told in `met_stop`, if given. `made`, if given, receives the id of a process that the call makes and that
// is traced from its birth (PTRACE_O_TRACEFORK, PTRACE_O_TRACECLONE).
std::int64_t run_syscall(pid_t pid, pid_t tid, const user_regs_struct& registers, bool* met_stop = nullptr,
                         pid_t* made = nullptr);

}  // namespace ckpt::engine
