// Names that the program gave its anonymous memory are kept, where the kernel has such names.
#include <sys/mman.h>
#include <sys/prctl.h>

#include "target.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

enum { kBytes = 4 * 4096 };

static bool map_shows(const unsigned char* at, const char* name) {
  FILE* maps = fopen("/proc/self/maps", "re");
  target_require(maps != NULL, "/proc/self/maps");
  char line[512];
  bool found = false;
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long start;
    unsigned long end;
    if (sscanf(line, "%lx-%lx ", &start, &end) != 2) continue;
    if ((unsigned long)at >= start && (unsigned long)at < end) found = strstr(line, name) != NULL;
  }
  fclose(maps);
  return found;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char* at = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(at != MAP_FAILED, "mmap");
  target_fill(at, kBytes, 1);
  bool has_names = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, kBytes, "target's name") == 0;
  if (!has_names) printf("this kernel does not name memory\n");

  target_ready();
  target_wait(go_file);

  target_check_pattern("named memory", at, kBytes, 1);
  if (has_names && !map_shows(at, "[anon:target's name]")) target_differs("the name is gone");
  return target_finish();
}
