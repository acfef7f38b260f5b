// x87 registers and control word, MXCSR, and the fs and gs bases of each thread are kept.
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "target.h"

enum { kThreads = 3, kValues = 8 };

struct Words {
  uint16_t x87_in, x87_out;
  uint32_t mxcsr_in, mxcsr_out;
  long double values_out[kValues];  // from the top of the x87 stack
  uint64_t gs_in, gs_out;
  uint64_t fs_in, fs_out;
  struct timespec nap;
};

static volatile int finished;

static void hold(struct Words* words) {
  __asm__ volatile(
      "fninit\n"
      "fldcw %[x87_in]\n"
      "fld1\n fldl2t\n fldl2e\n fldpi\n fldlg2\n fldln2\n fldz\n fld1\n"
      "ldmxcsr %[mxcsr_in]\n"
      "1: mov $35, %%eax\n" /* nanosleep */
      "lea %[nap], %%rdi\n"
      "xor %%esi, %%esi\n"
      "syscall\n"
      "cmpl $0, %[finished]\n"
      "je 1b\n"
      "stmxcsr %[mxcsr_out]\n"
      "fnstcw %[x87_out]\n"
      ".irp i,0,1,2,3,4,5,6,7\n fstpt \\i*16(%[values])\n .endr\n"
      : [x87_out] "=m"(words->x87_out), [mxcsr_out] "=m"(words->mxcsr_out)
      : [x87_in] "m"(words->x87_in), [mxcsr_in] "m"(words->mxcsr_in), [nap] "m"(words->nap),
        [values] "r"(words->values_out), [finished] "m"(finished)
      : "rax", "rcx", "r11", "rdi", "rsi", "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)",
        "st(6)", "st(7)");
  uint32_t usual_mxcsr = 0x1f80;
  __asm__ volatile("fninit\n ldmxcsr %0" : : "m"(usual_mxcsr));
}

static void* thread(void* argument) {
  struct Words* words = argument;
  target_require(syscall(SYS_arch_prctl, ARCH_SET_GS, words->gs_in) == 0, "ARCH_SET_GS");
  target_require(syscall(SYS_arch_prctl, ARCH_GET_FS, &words->fs_in) == 0, "ARCH_GET_FS");
  hold(words);
  syscall(SYS_arch_prctl, ARCH_GET_GS, &words->gs_out);
  syscall(SYS_arch_prctl, ARCH_GET_FS, &words->fs_out);
  return NULL;
}

static void check_values(const struct Words* words) {
  // Loaded last comes off first; constants rounded up, down and so on as the control word of the thread says.
  static const double kExpected[kValues] = {1,
                                            0,
                                            0.69314718055994530942,
                                            0.30102999566398119521,
                                            3.14159265358979323846,
                                            1.44269504088896340736,
                                            3.32192809488736234787,
                                            1};
  for (int i = 0; i < kValues; i++) {
    double difference = (double)words->values_out[i] - kExpected[i];
    if (difference > 1e-15 || difference < -1e-15 || difference != difference) {
      target_differs("x87 register %d: %.20Lf instead of %.20f", i, words->values_out[i], kExpected[i]);
    }
  }
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  // Exceptions masked; precision and rounding of their own.
  static struct Words words[kThreads] = {
      {.x87_in = 0x0f7f, .mxcsr_in = 0x9fc0, .gs_in = 0x12345678000},
      {.x87_in = 0x077f, .mxcsr_in = 0x3f80, .gs_in = 0x7fff00000000},
      {.x87_in = 0x0b7f, .mxcsr_in = 0x5f80, .gs_in = 0},
  };
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) {
    words[i].nap.tv_nsec = 20000000;
    target_require(pthread_create(&threads[i], NULL, thread, &words[i]) == 0, "pthread_create");
  }

  target_ready();
  target_wait(go_file);

  finished = 1;
  for (int i = 0; i < kThreads; i++) {
    pthread_join(threads[i], NULL);
    target_check_number("x87 control word", words[i].x87_out, words[i].x87_in);
    // The low six bits are sticky exception flags, which nothing here raises.
    target_check_number("MXCSR", words[i].mxcsr_out, words[i].mxcsr_in);
    target_check_number("gs base", (long long)words[i].gs_out, (long long)words[i].gs_in);
    target_check_number("fs base", (long long)words[i].fs_out, (long long)words[i].fs_in);
    check_values(&words[i]);
  }
  return target_finish();
}
