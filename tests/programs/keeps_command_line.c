// Arguments, environment, auxiliary vector, executable and name look the same from inside and through /proc.
#include <fcntl.h>
#include <sys/auxv.h>

#include "target.h"

enum { kTextBytes = 64 * 1024, kFiles = 4 };

static const char* const kFilesOfProc[kFiles] = {"/proc/self/cmdline", "/proc/self/environ",
                                                 "/proc/self/auxv", "/proc/self/comm"};
static char before[kFiles][kTextBytes];
static char after[kFiles][kTextBytes];
static ssize_t sizes_before[kFiles];
static ssize_t sizes_after[kFiles];
extern char** environ;

static void read_all(char texts[kFiles][kTextBytes], ssize_t sizes[kFiles]) {
  for (int i = 0; i < kFiles; i++) {
    int file = open(kFilesOfProc[i], O_RDONLY | O_CLOEXEC);
    target_require(file >= 0, kFilesOfProc[i]);
    sizes[i] = 0;
    ssize_t got;
    while ((got = read(file, texts[i] + sizes[i], kTextBytes - (size_t)sizes[i])) > 0) sizes[i] += got;
    close(file);
  }
}

static void read_executable(char* path, size_t size_bytes) {
  ssize_t length = readlink("/proc/self/exe", path, size_bytes - 1);
  target_require(length > 0, "/proc/self/exe");
  path[length] = '\0';
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  char executable_before[512];
  char executable_after[512];
  unsigned long auxv_before[52];
  read_all(before, sizes_before);
  read_executable(executable_before, sizeof executable_before);
  for (unsigned long type = 0; type < 52; type++) auxv_before[type] = getauxval(type);
  char** arguments = argv;
  char** variables = environ;
  const char* program_name = program_invocation_name;

  target_ready();
  target_wait(go_file);

  read_all(after, sizes_after);
  read_executable(executable_after, sizeof executable_after);
  for (int i = 0; i < kFiles; i++) {
    target_check_number(kFilesOfProc[i], sizes_after[i], sizes_before[i]);
    target_check_bytes(kFilesOfProc[i], after[i], before[i], (size_t)sizes_before[i]);
  }
  target_check_string("/proc/self/exe", executable_after, executable_before);
  for (unsigned long type = 0; type < 52; type++) {
    if (getauxval(type) != auxv_before[type]) {
      target_differs("getauxval(%lu): %lx instead of %lx", type, getauxval(type), auxv_before[type]);
    }
  }
  if (argv != arguments || environ != variables || program_invocation_name != program_name) {
    target_differs("arguments or environment moved");
  }
  return target_finish();
}
