// Every general register and the direction flag of a running thread keep their values.
#include <pthread.h>

#include "target.h"

enum { kSaved = 16 };

__attribute__((used)) static volatile int finished;
__attribute__((used)) static uint64_t saved[kSaved];

// rsp is covered by the return; rflags is saved last, for its direction flag.
__asm__(
    ".text\n"
    "hold_general_registers:\n"
    "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    ".irp r,rax,rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15\n"
    "movabs $0x1122334455667700, %\\r\n"
    ".endr\n"
    "add $0x1, %rax\n add $0x2, %rbx\n add $0x3, %rcx\n add $0x4, %rdx\n add $0x5, %rsi\n"
    "add $0x6, %rdi\n add $0x7, %rbp\n add $0x8, %r8\n add $0x9, %r9\n add $0xa, %r10\n"
    "add $0xb, %r11\n add $0xc, %r12\n add $0xd, %r13\n add $0xe, %r14\n add $0xf, %r15\n"
    "std\n"
    "1: pause\n"
    "cmpl $0, finished(%rip)\n"
    "je 1b\n"
    "mov %rax, saved+0(%rip)\n mov %rbx, saved+8(%rip)\n mov %rcx, saved+16(%rip)\n mov %rdx, "
    "saved+24(%rip)\n"
    "mov %rsi, saved+32(%rip)\n mov %rdi, saved+40(%rip)\n mov %rbp, saved+48(%rip)\n mov %r8, "
    "saved+56(%rip)\n"
    "mov %r9, saved+64(%rip)\n mov %r10, saved+72(%rip)\n mov %r11, saved+80(%rip)\n mov %r12, "
    "saved+88(%rip)\n"
    "mov %r13, saved+96(%rip)\n mov %r14, saved+104(%rip)\n mov %r15, saved+112(%rip)\n"
    "pushfq\n pop %rax\n mov %rax, saved+120(%rip)\n"
    "cld\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
    "ret\n");
void hold_general_registers(void);

static void* hold(void* argument) {
  hold_general_registers();
  return argument;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  static const char* const kNames[kSaved - 1] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8",
                                                 "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  pthread_t thread;
  target_require(pthread_create(&thread, NULL, hold, NULL) == 0, "pthread_create");

  target_ready();
  target_wait(go_file);

  finished = 1;
  pthread_join(thread, NULL);
  for (unsigned i = 0; i + 1 < kSaved; i++) {
    target_check_number(kNames[i], (long long)saved[i], (long long)(0x1122334455667701u + i));
  }
  target_check_number("direction flag", (long long)(saved[kSaved - 1] & 0x400), 0x400);
  return target_finish();
}
