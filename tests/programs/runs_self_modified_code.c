// Code that the program wrote, in memory of its own and over its own text, is still the code that runs.
#include <sys/mman.h>

#include "target.h"

enum { kPageBytes = 4096 };

typedef int (*Function)(void);

// mov eax, VALUE; ret
static void write_function(unsigned char* at, int value) {
  at[0] = 0xb8;
  memcpy(at + 1, &value, sizeof value);
  at[5] = 0xc3;
}

// On a page of its own, to be overwritten.
__attribute__((noinline, noclone, aligned(4096))) static int answer(void) {
  __asm__ volatile("" ::: "memory");
  return 1;
}

__attribute__((noinline, aligned(4096))) static int neighbour(void) {
  __asm__ volatile("" ::: "memory");
  return 2;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  volatile Function overwritten = answer;
  volatile Function untouched = neighbour;
  unsigned char* generated =
      mmap(NULL, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(generated != MAP_FAILED, "mmap");
  write_function(generated, 41);
  target_require(mprotect(generated, kPageBytes, PROT_READ | PROT_EXEC) == 0, "mprotect");
  volatile Function made = (Function)(uintptr_t)generated;

  unsigned char* text = (unsigned char*)(uintptr_t)answer;
  target_require(mprotect(text, kPageBytes, PROT_READ | PROT_WRITE) == 0, "mprotect of text");
  write_function(text, 42);
  target_require(mprotect(text, kPageBytes, PROT_READ | PROT_EXEC) == 0, "mprotect of text");
  target_require(made() == 41 && overwritten() == 42 && untouched() == 2, "the new code does not run");

  target_ready();
  target_wait(go_file);

  target_check_number("generated function", made(), 41);
  target_check_number("overwritten function", overwritten(), 42);
  target_check_number("function beside it", untouched(), 2);
  target_require(mprotect(generated, kPageBytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
  write_function(generated, 43);
  target_require(mprotect(generated, kPageBytes, PROT_READ | PROT_EXEC) == 0, "mprotect");
  target_check_number("function generated again", made(), 43);
  return target_finish();
}
