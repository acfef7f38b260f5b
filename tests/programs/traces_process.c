// Traces every thread of a process, as a debugger would, until the go file exists.
//
//   traces_process PID GO_FILE
#include <dirent.h>
#include <sys/ptrace.h>

#include "target.h"

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a process");
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/task", argv[1]);
  DIR* threads = opendir(path);
  target_require(threads != NULL, path);
  struct dirent* entry;
  while ((entry = readdir(threads)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    target_require(ptrace(PTRACE_SEIZE, (pid_t)strtol(entry->d_name, NULL, 10), NULL, NULL) == 0,
                   "PTRACE_SEIZE");
  }
  closedir(threads);
  target_ready();
  target_wait(go_file);
  return target_finish();
}
