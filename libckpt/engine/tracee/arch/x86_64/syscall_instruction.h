#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <initializer_list>
#include <optional>

#include "base/remote_addr.h"

namespace ckpt::engine::arch {

inline constexpr std::uint64_t kSyscallInstructionBytes = 2;  // 0f 05

// Address of a `syscall` instruction in the process: in its vDSO, else in any executable mapping. Throws
// Error.
RemoteAddr find_syscall_instruction(pid_t pid);

// The instruction that a thread with `registers` has just executed, if it was this one.
std::optional<RemoteAddr> syscall_instruction_before(pid_t pid, const user_regs_struct& registers);

// `base` with everything set to run one system call at `instruction`; orig_rax is -1, so that an interrupted
// call that these registers stand in is not restarted in between.
user_regs_struct registers_for_call(const user_regs_struct& base, RemoteAddr instruction, long number,
                                    std::initializer_list<std::uint64_t> arguments);

}  // namespace ckpt::engine::arch
