// A program that has unmapped its vDSO, but not the data before it, has neither more nor less after a
// recover.
#include <sys/mman.h>

#include "target.h"

// Where the mapping is that /proc/self/maps calls so; false: nowhere.
static bool find_mapping(const char* name, unsigned long* start, unsigned long* end) {
  FILE* maps = fopen("/proc/self/maps", "re");
  target_require(maps != NULL, "/proc/self/maps");
  char line[512];
  bool found = false;
  while (!found && fgets(line, sizeof line, maps) != NULL)
    found = strstr(line, name) != NULL && sscanf(line, "%lx-%lx", start, end) == 2;
  fclose(maps);
  return found;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned long start = 0, end = 0, data = 0;
  target_require(find_mapping("[vdso]", &start, &end), "a vDSO");
  target_require(munmap((void*)start, end - start) == 0, "munmap");
  target_require(find_mapping("[vvar]", &data, &end), "its data");

  target_ready();
  target_wait(go_file);

  unsigned long still = 0;
  target_check_number("vDSO", find_mapping("[vdso]", &start, &end), false);
  target_check_number("its data", find_mapping("[vvar]", &still, &end), true);
  target_check_number("where that is", (long)still, (long)data);
  return target_finish();
}
