// A thread that runs 32-bit code, as 32-bit programs do.
#include <pthread.h>
#include <sys/mman.h>

#include "target.h"

enum { kFlagAt = 64 };

static void* run(void* code) {
  __asm__ volatile("mov %1, %%ds\n\tpushq $0x23\n\tpushq %0\n\tlretq" : : "r"(code), "r"(0x2b) : "memory");
  return NULL;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char* page =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  target_require(page != MAP_FAILED, "mmap");
  uint32_t flag = (uint32_t)(uintptr_t)page + kFlagAt;
  // movb $1, flag; 1: pause; jmp 1b
  const unsigned char code[] = {0xc6,
                                0x05,
                                (unsigned char)flag,
                                (unsigned char)(flag >> 8),
                                (unsigned char)(flag >> 16),
                                (unsigned char)(flag >> 24),
                                0x01,
                                0xf3,
                                0x90,
                                0xeb,
                                0xfc};
  memcpy(page, code, sizeof code);
  pthread_t thread;
  target_require(pthread_create(&thread, NULL, run, page) == 0, "pthread_create");
  while (__atomic_load_n(page + kFlagAt, __ATOMIC_SEQ_CST) == 0) target_sleep_ms(1);

  target_ready();
  target_wait(go_file);
  return target_finish();
}
