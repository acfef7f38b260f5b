// How long calls take that a preloaded library may stand in front of: nanoseconds of the quickest of several
// rounds.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "target.h"

enum { kRounds = 20, kCalls = 2000 };

static void open_and_close(void) { close(open("/dev/null", O_RDONLY | O_CLOEXEC)); }
static void map_and_unmap(void) {
  munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
}

static void call_by_number(void) { syscall(SYS_getppid); }

static void measure(const char* name, void (*call)(void)) {
  int64_t best = INT64_MAX;
  for (int round = 0; round < kRounds; round++) {
    int64_t begin = target_now_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < kCalls; i++) call();
    int64_t spent = target_now_ns(CLOCK_MONOTONIC) - begin;
    if (spent < best) best = spent;
  }
  printf("%s %lld\n", name, (long long)(best / kCalls));
  fflush(stdout);
}

int main(void) {
  measure("open_close", open_and_close);
  measure("mmap_munmap", map_and_unmap);
  measure("syscall", call_by_number);
  return 0;
}
