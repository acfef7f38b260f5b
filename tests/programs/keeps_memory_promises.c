// What the kernel was asked once for the whole address space still holds: barriers in all threads by
// membarrier, later mappings locked in memory by mlockall.
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "target.h"

enum { kPages = 16, kPage = 4096 };

static long membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }

static void* wait_for_end(void* go_file) {
  target_wait(go_file);
  return NULL;
}

static int resident_pages_of_new_mapping(void) {
  unsigned char resident[kPages];
  void* area = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(area != MAP_FAILED, "mmap");
  target_require(mincore(area, kPages * kPage, resident) == 0, "mincore");
  munmap(area, kPages * kPage);
  int count = 0;
  for (int i = 0; i < kPages; i++) count += resident[i] & 1;
  return count;
}

int main(int argc, char** argv) {
  char* go_file = (char*)target_go_file(argc, argv);
  bool private_barriers = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
  bool core_barriers = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) == 0;
  pthread_t thread;
  target_require(pthread_create(&thread, NULL, wait_for_end, go_file) == 0, "pthread_create");
  bool locks = mlockall(MCL_FUTURE) == 0;  // not where the limit on locked memory is 0
  int resident = resident_pages_of_new_mapping();

  target_ready();
  target_wait(go_file);

  if (private_barriers)
    target_check_number("private barrier", membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), 0);
  if (core_barriers)
    target_check_number("core barrier", membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE), 0);
  if (locks)
    target_check_number("resident pages of a new mapping", resident_pages_of_new_mapping(), resident);
  pthread_join(thread, NULL);
  return target_finish();
}
