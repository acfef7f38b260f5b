// What the kernel was asked once for memory still holds: barriers in all threads by membarrier, later
// mappings locked in memory by mlockall, sealed mappings, protection keys, no memory that becomes executable,
// and what a core file has.
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "target.h"

enum { kPages = 16, kPage = 4096, kKeys = 3 };
enum { kMseal = 462, kSetDenyWriteExecute = 65 };  // Linux 6.10, 6.3

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

static void write_core_filter(const char* text) {
  int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
  target_require(fd >= 0 && write(fd, text, strlen(text)) > 0, "coredump_filter");
  close(fd);
}

static void check_core_filter(unsigned expected) {
  char text[32] = "";
  int fd = open("/proc/self/coredump_filter", O_RDONLY | O_CLOEXEC);
  target_require(fd >= 0 && read(fd, text, sizeof text - 1) > 0, "coredump_filter");
  close(fd);
  target_check_number("coredump_filter", (long long)strtoul(text, NULL, 16), expected);
}

static int make_executable(void) {
  void* area = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(area != MAP_FAILED, "mmap");
  return mprotect(area, kPage, PROT_READ | PROT_EXEC);
}

int main(int argc, char** argv) {
  char* go_file = (char*)target_go_file(argc, argv);
  bool private_barriers = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
  bool core_barriers = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) == 0;
  pthread_t thread;
  target_require(pthread_create(&thread, NULL, wait_for_end, go_file) == 0, "pthread_create");
  bool locks = mlockall(MCL_FUTURE) == 0;  // not where the limit on locked memory is 0
  int resident = resident_pages_of_new_mapping();

  char* sealed = mmap(NULL, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(sealed != MAP_FAILED, "mmap");
  bool seals = syscall(kMseal, sealed, kPage, 0) == 0;
  int keys[kKeys] = {-1, -1, -1};
  for (int i = 0; i < kKeys; i++) keys[i] = pkey_alloc(0, 0);
  char* guarded = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(guarded != MAP_FAILED, "mmap");
  *guarded = 'g';
  bool guards = keys[2] > 0 && pkey_free(keys[1]) == 0 &&
                pkey_mprotect(guarded, kPage, PROT_READ | PROT_WRITE, keys[2]) == 0;
  if (guards) pkey_set(keys[2], PKEY_DISABLE_ACCESS);
  write_core_filter("0x7f");
  bool denies = prctl(kSetDenyWriteExecute, 1, 0, 0, 0) == 0;

  target_ready();
  target_wait(go_file);

  if (private_barriers)
    target_check_number("private barrier", membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), 0);
  if (core_barriers)
    target_check_number("core barrier", membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE), 0);
  if (locks)
    target_check_number("resident pages of a new mapping", resident_pages_of_new_mapping(), resident);
  if (seals) target_check_number("munmap of a sealed mapping", munmap(sealed, kPage), -1);
  if (guards) {
    int pair[2];
    target_require(pipe(pair) == 0, "pipe");
    target_check_number("reading what a key guards", write(pair[1], guarded, 1), -1);
    pkey_set(keys[2], 0);
    target_check_number("what a key guarded", *guarded, 'g');
    target_check_number("the key that was free", pkey_alloc(0, 0), keys[1]);
    target_check_number("giving back a key", pkey_free(keys[2]), 0);
  }
  check_core_filter(0x7f);
  if (denies) target_check_number("executable memory", make_executable(), -1);
  pthread_join(thread, NULL);
  return target_finish();
}
