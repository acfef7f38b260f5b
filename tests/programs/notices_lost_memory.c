// Goes through its memory without end and makes a file "lost" in its working directory when a page is not
// what it should be, or when it crashes. What it needs for that is on the stack and in registers, so that it
// can still tell when all other memory is gone, the C library's included.
//
//   notices_lost_memory MIB GO_FILE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "target.h"

enum { kPageWords = 512 };

static uint64_t word(uint64_t page) { return (page + 1) * 0x9e3779b97f4a7c15u; }

static void tell(int signal) {
  syscall(SYS_open, "lost", O_WRONLY | O_CREAT, 0600);
  syscall(SYS_exit_group, signal);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc > 2, "needs a size in MiB");
  uint64_t pages = strtoull(argv[1], NULL, 10) * 256;
  volatile uint64_t* memory =
      mmap(NULL, pages * kPageWords * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(memory != MAP_FAILED, "mmap");
  for (uint64_t page = 0; page < pages; page++) memory[page * kPageWords] = word(page);
  syscall(SYS_getpid);  // the linker has bound it before it could be in need of memory
  target_require(signal(SIGSEGV, tell) != SIG_ERR, "signal");
  target_ready();
  for (uint64_t round = 0; !target_told_to_go(go_file); round++) {
    for (uint64_t page = 0; page < pages; page++) {
      if (memory[page * kPageWords] == word(page)) continue;
      tell(1);
    }
    target_sleep_ms(1);
  }
  return target_finish();
}
