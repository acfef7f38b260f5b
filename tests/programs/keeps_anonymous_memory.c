// Private anonymous memory of every protection keeps content and protection; pages never touched stay zero.
#include <sys/mman.h>

#include "target.h"

enum { kPages = 64, kPageBytes = 4096, kBytes = kPages * kPageBytes };

struct Range {
  const char* what;
  int protection;
  const char* shown;  // in /proc/self/maps
  unsigned char* at;
};

static struct Range ranges[] = {
    {"readable and writable memory", PROT_READ | PROT_WRITE, "rw-p", NULL},
    {"memory without access", PROT_NONE, "---p", NULL},
    {"read-only memory", PROT_READ, "r--p", NULL},
    {"executable memory", PROT_READ | PROT_EXEC, "r-xp", NULL},
    {"memory of all rights", PROT_READ | PROT_WRITE | PROT_EXEC, "rwxp", NULL},
    {"write-only memory", PROT_WRITE, "-w-p", NULL},
    {"execute-only memory", PROT_EXEC, "--xp", NULL},
};
enum { kRanges = sizeof ranges / sizeof *ranges };

static bool is_touched(size_t page) { return page % 3 != 1; }

static void check_shown_protection(const struct Range* range) {
  FILE* maps = fopen("/proc/self/maps", "re");
  target_require(maps != NULL, "/proc/self/maps");
  char line[512];
  bool found = false;
  while (fgets(line, sizeof line, maps) != NULL) {
    unsigned long start;
    unsigned long end;
    char shown[8];
    if (sscanf(line, "%lx-%lx %7s", &start, &end, shown) != 3) continue;
    if ((unsigned long)range->at < start || (unsigned long)range->at >= end) continue;
    found = true;
    target_check_string(range->what, shown, range->shown);
    if (end < (unsigned long)range->at + kBytes) target_differs("%s ends early, at %lx", range->what, end);
  }
  fclose(maps);
  if (!found) target_differs("%s at %p is gone", range->what, (void*)range->at);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  for (unsigned r = 0; r < kRanges; r++) {
    // A hole on both sides, so that neighbours never merge.
    unsigned char* area =
        mmap(NULL, kBytes + 2 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    target_require(area != MAP_FAILED, "mmap");
    munmap(area, kPageBytes);
    munmap(area + kPageBytes + kBytes, kPageBytes);
    ranges[r].at = area + kPageBytes;
    for (size_t page = 0; page < kPages; page++) {
      if (is_touched(page))
        target_fill(ranges[r].at + page * kPageBytes, kPageBytes, r * kPages + (unsigned)page);
    }
    target_require(mprotect(ranges[r].at, kBytes, ranges[r].protection) == 0, "mprotect");
  }

  target_ready();
  target_wait(go_file);

  for (unsigned r = 0; r < kRanges; r++) {
    check_shown_protection(&ranges[r]);
    target_require(mprotect(ranges[r].at, kBytes, PROT_READ) == 0, "mprotect");
    for (size_t page = 0; page < kPages; page++) {
      unsigned char* at = ranges[r].at + page * kPageBytes;
      if (is_touched(page)) {
        target_check_pattern(ranges[r].what, at, kPageBytes, r * kPages + (unsigned)page);
      } else {
        target_check_zero(ranges[r].what, at, kPageBytes);
      }
    }
  }
  return target_finish();
}
