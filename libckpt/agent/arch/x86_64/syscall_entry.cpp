// syscall() as libc has it, without a frame of its own: a call that makes a process on another stack returns
// on that one. Only what is written down takes another way (interposed_syscall.cpp).
#include <sys/syscall.h>

#include "agent/public.h"

#define CKPT_TEXT(number) CKPT_TEXT_OF(number)
#define CKPT_TEXT_OF(number) #number

CKPT_PUBLIC __attribute__((naked)) long syscall(long /*number*/, ...) noexcept {
  asm("cmp $" CKPT_TEXT(__NR_userfaultfd) ", %rdi\n"
      "je ckpt_noted_syscall\n"
      "cmp $" CKPT_TEXT(__NR_perf_event_open) ", %rdi\n"
      "je ckpt_noted_syscall\n"
      "cmp $" CKPT_TEXT(__NR_bpf) ", %rdi\n"
      "je ckpt_noted_syscall\n"
      "cmp $" CKPT_TEXT(__NR_seccomp) ", %rdi\n"
      "je ckpt_noted_syscall\n"
      "mov %rdi, %rax\n"
      "mov %rsi, %rdi\n"
      "mov %rdx, %rsi\n"
      "mov %rcx, %rdx\n"
      "mov %r8, %r10\n"
      "mov %r9, %r8\n"
      "mov 8(%rsp), %r9\n"
      "syscall\n"
      "cmp $-4095, %rax\n"
      "jae 1f\n"
      "ret\n"
      "1: mov %rax, %rdi\n"
      "jmp ckpt_failed_syscall\n");
}
