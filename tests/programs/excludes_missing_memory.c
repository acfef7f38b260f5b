// Memory of a program with a limit of memory that is excluded from checkpoints only after it was discarded
// stays as it is while the program runs.
//
//   excludes_missing_memory SIZE_MIB GO_FILE    excludes a third of it when there is GO_FILE.exclude
#include <stdlib.h>
#include <sys/mman.h>

#include "ckpt/ckpt.h"
#include "target.h"

static bool told_to_exclude(const char* go_file) {
  char path[4096];
  snprintf(path, sizeof(path), "%s.exclude", go_file);
  return access(path, F_OK) == 0;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "usage: excludes_missing_memory SIZE_MIB GO_FILE");
  const size_t third = (strtoul(argv[1], NULL, 10) << 20) / 3 / 4096 * 4096;
  unsigned char* memory = mmap(NULL, 3 * third, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(memory != MAP_FAILED, "mmap");
  for (unsigned i = 0; i < 3; ++i) target_fill(memory + i * third, third, i + 1);
  target_ready();
  while (!told_to_exclude(go_file)) target_sleep_ms(10);
  target_require(ckpt_exclude(memory + third, third) == 0, "ckpt_exclude");
  printf("excluded\n");
  fflush(stdout);
  target_wait(go_file);
  for (unsigned i = 0; i < 3; ++i)
    target_check_pattern(i == 1 ? "excluded memory" : "memory", memory + i * third, third, i + 1);
  return target_finish();
}
