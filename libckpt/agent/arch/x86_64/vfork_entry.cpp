// vfork() as libc has it: the child returns into its caller on the stack that its parent goes on with, so the
// return address is kept where the child cannot overwrite it.
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/arch/x86_64/assembly.h"
#include "agent/public.h"

CKPT_PUBLIC __attribute__((naked)) pid_t vfork() noexcept {
  asm("pop %rdi\n"
      "mov $" CKPT_TEXT(__NR_vfork) ", %eax\n"
      "syscall\n"
      "push %rdi\n"
      "cmp $-4095, %rax\n"
      "jae 1f\n"
      "test %rax, %rax\n"
      "jz 2f\n"
      "cmpl $0, ckpt_ids_in_use(%rip)\n"
      "jne 3f\n"
      "2: ret\n"
      "1: mov %rax, %rdi\n"
      "jmp ckpt_failed_syscall\n"
      "3: mov %rax, %rdi\n"
      "jmp ckpt_seen_result\n");
}
