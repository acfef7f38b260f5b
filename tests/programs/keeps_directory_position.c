// A directory that is being read goes on where it was: every entry once, none twice.
// Takes the directory to create and fill before the go file.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "target.h"

enum { kEntries = 3000, kReadBefore = 1000 };

static int seen[kEntries];

static int read_entries(DIR* directory, int at_most) {
  int count = 0;
  struct dirent* entry;
  while (count < at_most && (entry = readdir(directory)) != NULL) {
    int number;
    if (sscanf(entry->d_name, "entry-%d", &number) != 1) continue;
    seen[number]++;
    count++;
  }
  return count;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a directory");
  target_require(mkdir(argv[1], 0700) == 0, argv[1]);
  int base = open(argv[1], O_RDONLY | O_DIRECTORY);
  target_require(base >= 0, argv[1]);
  for (int i = 0; i < kEntries; i++) {
    char name[32];
    snprintf(name, sizeof name, "entry-%d", i);
    int file = openat(base, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    target_require(file >= 0, name);
    close(file);
  }
  DIR* directory = opendir(argv[1]);
  target_require(directory != NULL, argv[1]);
  target_require(read_entries(directory, kReadBefore) == kReadBefore, "readdir");

  target_ready();
  target_wait(go_file);

  target_check_number("entries left to read", read_entries(directory, kEntries), kEntries - kReadBefore);
  for (int i = 0; i < kEntries; i++) {
    if (seen[i] != 1) target_differs("entry %d was read %d times", i, seen[i]);
  }
  target_check_number("close-on-exec of the directory", fcntl(dirfd(directory), F_GETFD), FD_CLOEXEC);
  target_check_number("close-on-exec of the other descriptor", fcntl(base, F_GETFD), 0);
  if (faccessat(base, "entry-7", F_OK, 0) != 0)
    target_differs("openat from the directory: %s", strerror(errno));
  return target_finish();
}
