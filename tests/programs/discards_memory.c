// Memory stays anonymous: discarded pages read as zeroes, MADV_FREE and MADV_WIPEONFORK work, and an
// allocator that relies on fresh pages being zero (jemalloc's calloc) is right to do so.
#include <sys/mman.h>
#include <sys/wait.h>

#include "target.h"

enum { kPageBytes = 4096, kBytes = 256 * kPageBytes, kBlocks = 64, kBlockBytes = 200000 };

static void check_discards(unsigned char* memory) {
  target_check_pattern("memory", memory, kBytes, 1);
  target_require(madvise(memory + kBytes / 2, kBytes / 2, MADV_DONTNEED) == 0, "MADV_DONTNEED");
  target_check_zero("memory after MADV_DONTNEED", memory + kBytes / 2, kBytes / 2);
  target_check_pattern("memory beside it", memory, kBytes / 2, 1);
}

static void check_wipe_on_fork(unsigned char* memory) {
  if (madvise(memory, kBytes, MADV_WIPEONFORK) != 0) target_differs("MADV_WIPEONFORK: %s", strerror(errno));
  pid_t child = fork();
  if (child == 0) {
    for (size_t i = 0; i < kBytes; i++) {
      if (memory[i] != 0) _exit(1);
    }
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  target_check_number("child that looks at memory wiped for it", status, 0);
  target_check_pattern("memory wiped for children only", memory, kBytes, 2);
}

static void check_allocator(unsigned char** blocks) {
  for (unsigned i = 0; i < kBlocks; i++) {
    target_check_pattern("allocated block", blocks[i], kBlockBytes, 10 + i);
    free(blocks[i]);
  }
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < kBlocks; i++) {
      blocks[i] = calloc(1, kBlockBytes);
      target_require(blocks[i] != NULL, "calloc");
      target_check_zero("block from calloc", blocks[i], kBlockBytes);
      target_fill(blocks[i], kBlockBytes, 100 + i);
    }
    for (unsigned i = 0; i < kBlocks; i++) free(blocks[i]);
  }
}

static unsigned char* map_filled(unsigned seed) {
  unsigned char* at = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(at != MAP_FAILED, "mmap");
  target_fill(at, kBytes, seed);
  return at;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char* discarded = map_filled(1);
  unsigned char* wiped = map_filled(2);
  unsigned char* freed = map_filled(3);
  unsigned char* wiped_before = map_filled(4);
  target_require(madvise(wiped_before, kBytes, MADV_WIPEONFORK) == 0, "MADV_WIPEONFORK");
  unsigned char* blocks[kBlocks];
  for (unsigned i = 0; i < kBlocks; i++) {
    blocks[i] = malloc(kBlockBytes);
    target_require(blocks[i] != NULL, "malloc");
    target_fill(blocks[i], kBlockBytes, 10 + i);
  }

  target_ready();
  target_wait(go_file);

  check_discards(discarded);
  check_wipe_on_fork(wiped);
  target_check_pattern("memory that was already to be wiped in children", wiped_before, kBytes, 4);
  if (madvise(freed, kBytes, MADV_FREE) != 0) target_differs("MADV_FREE: %s", strerror(errno));
  target_fill(freed, kBytes, 5);
  target_check_pattern("memory written after MADV_FREE", freed, kBytes, 5);
  check_allocator(blocks);
  return target_finish();
}
