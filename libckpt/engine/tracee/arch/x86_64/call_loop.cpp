#include "engine/tracee/arch/x86_64/call_loop.h"

#include <sys/syscall.h>

// rbx: next call, r12: calls left. The kernel changes rax, rcx and r11 only.
asm(R"(
  .pushsection .rodata
  .globl ckpt_call_loop_begin, ckpt_call_loop_end
  .hidden ckpt_call_loop_begin, ckpt_call_loop_end
ckpt_call_loop_begin:
  test %r12, %r12
  jz 2f
1:
  mov 0(%rbx), %rax
  mov 8(%rbx), %rdi
  mov 16(%rbx), %rsi
  mov 24(%rbx), %rdx
  mov 32(%rbx), %r10
  mov 40(%rbx), %r8
  mov 48(%rbx), %r9
  syscall
  mov %rax, 56(%rbx)
  add $64, %rbx
  dec %r12
  jnz 1b
2:
  mov $34, %eax
  syscall
  jmp 2b
ckpt_call_loop_end:
  .popsection
)");

extern "C" {
extern const std::byte ckpt_call_loop_begin[];
extern const std::byte ckpt_call_loop_end[];
}

namespace ckpt::engine::arch {

static_assert(SYS_pause == 34, "the number in the loop above");

std::span<const std::byte> call_loop_code() { return {ckpt_call_loop_begin, ckpt_call_loop_end}; }

user_regs_struct registers_for_loop(const user_regs_struct& base, RemoteAddr code, RemoteAddr calls,
                                    std::uint64_t count) {
  user_regs_struct registers = base;
  registers.rip = code.value;
  registers.rbx = calls.value;
  registers.r12 = count;
  registers.orig_rax = ~0ULL;
  return registers;
}

}  // namespace ckpt::engine::arch
