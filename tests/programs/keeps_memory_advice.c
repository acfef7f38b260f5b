// What madvise and mlock said about memory is kept: the flags that /proc/self/smaps shows are the same.
#include <sys/mman.h>

#include "target.h"

enum { kBytes = 16 * 4096, kFlagBytes = 256 };

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

struct Advised {
  const char* what;
  int advice;          // -1: locked
  const char* expect;  // shown in VmFlags
  unsigned char* at;
  char flags[kFlagBytes];
};

static struct Advised advised[] = {
    {"MADV_NORMAL", MADV_NORMAL, "rd", NULL, ""},
    {"MADV_HUGEPAGE", MADV_HUGEPAGE, "hg", NULL, ""},
    {"MADV_NOHUGEPAGE", MADV_NOHUGEPAGE, "nh", NULL, ""},
    {"MADV_DONTDUMP", MADV_DONTDUMP, "dd", NULL, ""},
    {"MADV_DONTFORK", MADV_DONTFORK, "dc", NULL, ""},
    {"MADV_WIPEONFORK", MADV_WIPEONFORK, "wf", NULL, ""},
    {"MADV_SEQUENTIAL", MADV_SEQUENTIAL, "sr", NULL, ""},
    {"MADV_RANDOM", MADV_RANDOM, "rr", NULL, ""},
    {"MADV_MERGEABLE", MADV_MERGEABLE, "mg", NULL, ""},
    {"mlock", -1, "lo", NULL, ""},
};
enum { kAdvised = sizeof advised / sizeof *advised };

// Flags that tell of tracking, not of the program: soft-dirty and the userfaultfd ones.
static bool is_about_tracking(const char* flag) {
  return strcmp(flag, "sd") == 0 || strcmp(flag, "um") == 0 || strcmp(flag, "uw") == 0 ||
         strcmp(flag, "ui") == 0;
}

static void read_flags(const unsigned char* at, char* flags) {
  FILE* smaps = fopen("/proc/self/smaps", "re");
  target_require(smaps != NULL, "/proc/self/smaps");
  char line[512];
  bool inside = false;
  flags[0] = '\0';
  while (fgets(line, sizeof line, smaps) != NULL) {
    unsigned long start;
    unsigned long end;
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
      inside = (unsigned long)at >= start && (unsigned long)at < end;
    if (!inside || strncmp(line, "VmFlags:", 8) != 0) continue;
    char* rest = NULL;
    for (char* flag = strtok_r(line + 8, " \n", &rest); flag != NULL; flag = strtok_r(NULL, " \n", &rest)) {
      if (is_about_tracking(flag) || strlen(flags) + 4 > kFlagBytes) continue;
      strcat(flags, flag);
      strcat(flags, " ");
    }
  }
  fclose(smaps);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  for (unsigned i = 0; i < kAdvised; i++) {
    unsigned char* area =
        mmap(NULL, kBytes + 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    target_require(area != MAP_FAILED, "mmap");
    munmap(area, 4096);
    munmap(area + 4096 + kBytes, 4096);
    advised[i].at = area + 4096;
    target_fill(advised[i].at, kBytes, i);
    int result = advised[i].advice < 0 ? mlock(advised[i].at, kBytes)
                                       : madvise(advised[i].at, kBytes, advised[i].advice);
    target_require(result == 0, advised[i].what);
    read_flags(advised[i].at, advised[i].flags);
    target_require(strstr(advised[i].flags, advised[i].expect) != NULL, advised[i].what);
  }

  target_ready();
  target_wait(go_file);

  for (unsigned i = 0; i < kAdvised; i++) {
    char flags[kFlagBytes];
    read_flags(advised[i].at, flags);
    target_check_string(advised[i].what, flags, advised[i].flags);
    target_check_pattern(advised[i].what, advised[i].at, kBytes, i);
  }
  return target_finish();
}
