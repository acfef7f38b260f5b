// Memory that the program excludes from its checkpoints reads as zeroes after a recover; what is beside it,
// and what was included again, is kept.
#include <sys/mman.h>

#include "ckpt/ckpt.h"
#include "target.h"

enum { kPageBytes = 4096, kBytes = 64 * kPageBytes, kThird = 20 * kPageBytes };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char* memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(memory != MAP_FAILED, "mmap");
  target_fill(memory, kThird, 1);
  target_fill(memory + kThird, kThird, 2);
  target_fill(memory + 2 * kThird, kThird, 3);
  // Only whole pages: the first and the last byte save theirs.
  target_require(ckpt_exclude(memory + kThird - 1, kThird + 2) == 0, "ckpt_exclude");
  target_require(ckpt_exclude(memory + 2 * kThird, kThird) == 0, "ckpt_exclude");
  target_require(ckpt_include(memory + 2 * kThird, kThird) == 0, "ckpt_include");
  target_require(ckpt_exclude(memory + 1, 100) == -1 && errno == EINVAL, "ckpt_exclude of less than a page");
  pid_t supervisor = getppid();
  target_ready();
  target_wait(go_file);

  target_check_pattern("memory before it", memory, kThird, 1);
  target_check_pattern("memory included again", memory + 2 * kThird, kThird, 3);
  if (getppid() == supervisor) {
    target_check_pattern("excluded memory of a program that never ended", memory + kThird, kThird, 2);
  } else {
    target_check_zero("excluded memory after a recover", memory + kThird, kThird);
  }
  return target_finish();
}
