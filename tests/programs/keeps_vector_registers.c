// AVX-512 registers and masks (AVX or SSE where there are none) keep what a thread put there, while the
// thread spins and while it is inside a system call.
#include <pthread.h>

#include "target.h"

enum { kRegisterBytes = 64, kRegisters = 32, kMasks = 8 };

struct Held {
  unsigned char in[kRegisters * kRegisterBytes];
  unsigned char out[kRegisters * kRegisterBytes];
  uint64_t masks_in[kMasks];
  uint64_t masks_out[kMasks];
  struct timespec nap;  // 0: spin
  size_t used_registers;
  size_t used_bytes;  // of each
  size_t used_masks;
};

static volatile int finished;

// Nothing but these instructions runs in the thread between filling the registers and storing them.
#define WAIT                            \
  "1: pause\n"                          \
  "cmpq $0, (%[nap])\n"                 \
  "jne 2f\n"                            \
  "cmpq $0, 8(%[nap])\n"                \
  "je 3f\n"                             \
  "2: mov $35, %%eax\n" /* nanosleep */ \
  "mov %[nap], %%rdi\n"                 \
  "xor %%esi, %%esi\n"                  \
  "syscall\n"                           \
  "3: cmpl $0, %[finished]\n"           \
  "je 1b\n"

#define UP_TO_7 "0,1,2,3,4,5,6,7"
#define UP_TO_15 UP_TO_7 ",8,9,10,11,12,13,14,15"
#define UP_TO_31 UP_TO_15 ",16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"

__attribute__((target("avx512f,avx512bw"))) static void hold_avx512(struct Held* held) {
  __asm__ volatile(".irp i," UP_TO_31
                   "\n vmovdqu64 \\i*64(%[in]), %%zmm\\i\n .endr\n"
                   ".irp i," UP_TO_7 "\n kmovq \\i*8(%[masks_in]), %%k\\i\n .endr\n" WAIT ".irp i," UP_TO_31
                   "\n vmovdqu64 %%zmm\\i, \\i*64(%[out])\n .endr\n"
                   ".irp i," UP_TO_7
                   "\n kmovq %%k\\i, \\i*8(%[masks_out])\n .endr\n"
                   "vzeroupper\n"
                   :
                   : [in] "r"(held->in), [out] "r"(held->out), [masks_in] "r"(held->masks_in),
                     [masks_out] "r"(held->masks_out), [nap] "r"(&held->nap), [finished] "m"(finished)
                   : "rax", "rcx", "r11", "rdi", "rsi", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3",
                     "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                     "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
                     "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3",
                     "k4", "k5", "k6", "k7");
}

__attribute__((target("avx"))) static void hold_avx(struct Held* held) {
  __asm__ volatile(".irp i," UP_TO_15 "\n vmovdqu \\i*64(%[in]), %%ymm\\i\n .endr\n" WAIT ".irp i," UP_TO_15
                   "\n vmovdqu %%ymm\\i, \\i*64(%[out])\n .endr\n"
                   "vzeroupper\n"
                   :
                   : [in] "r"(held->in), [out] "r"(held->out), [nap] "r"(&held->nap), [finished] "m"(finished)
                   : "rax", "rcx", "r11", "rdi", "rsi", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3",
                     "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                     "xmm14", "xmm15");
}

static void hold_sse(struct Held* held) {
  __asm__ volatile(".irp i," UP_TO_15 "\n movdqu \\i*64(%[in]), %%xmm\\i\n .endr\n" WAIT ".irp i," UP_TO_15
                   "\n movdqu %%xmm\\i, \\i*64(%[out])\n .endr\n"
                   :
                   : [in] "r"(held->in), [out] "r"(held->out), [nap] "r"(&held->nap), [finished] "m"(finished)
                   : "rax", "rcx", "r11", "rdi", "rsi", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3",
                     "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                     "xmm14", "xmm15");
}

static void* hold(void* argument) {
  struct Held* held = argument;
  if (__builtin_cpu_supports("avx512bw")) {
    held->used_registers = kRegisters;
    held->used_bytes = 64;
    held->used_masks = kMasks;
    hold_avx512(held);
  } else if (__builtin_cpu_supports("avx")) {
    held->used_registers = 16;
    held->used_bytes = 32;
    hold_avx(held);
  } else {
    held->used_registers = 16;
    held->used_bytes = 16;
    hold_sse(held);
  }
  return NULL;
}

static void fill(struct Held* held, unsigned seed, long nap_ns) {
  target_fill(held->in, sizeof held->in, seed);
  target_fill(held->masks_in, sizeof held->masks_in, seed + 1);
  held->nap.tv_nsec = nap_ns;
}

static void check(const struct Held* held, const char* what) {
  for (size_t r = 0; r < held->used_registers; r++) {
    char name[64];
    snprintf(name, sizeof name, "vector register %zu of the thread that %s", r, what);
    target_check_bytes(name, held->out + r * kRegisterBytes, held->in + r * kRegisterBytes, held->used_bytes);
  }
  for (size_t k = 0; k < held->used_masks; k++) {
    if (held->masks_out[k] == held->masks_in[k]) continue;
    target_differs("mask register k%zu of the thread that %s: %llx instead of %llx", k, what,
                   (unsigned long long)held->masks_out[k], (unsigned long long)held->masks_in[k]);
  }
}

static struct Held spinning;
static struct Held sleeping;
static struct Held long_asleep;

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  fill(&spinning, 1, 0);
  fill(&sleeping, 11, 10000000);
  fill(&long_asleep, 21, 900000000);
  pthread_t threads[3];
  target_require(pthread_create(&threads[0], NULL, hold, &spinning) == 0, "pthread_create");
  target_require(pthread_create(&threads[1], NULL, hold, &sleeping) == 0, "pthread_create");
  target_require(pthread_create(&threads[2], NULL, hold, &long_asleep) == 0, "pthread_create");

  target_ready();
  target_wait(go_file);

  finished = 1;
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  check(&spinning, "spins");
  check(&sleeping, "naps often");
  check(&long_asleep, "naps long");
  return target_finish();
}
