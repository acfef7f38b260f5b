// Has a "file" open, or is in a "directory", that its permissions have been closed to since: an ordinary user
// could not open it again. Takes the kind before the go file.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "target.h"

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3 && mkdir("closed", 0700) == 0, "mkdir");
  char path[4096];
  target_require(realpath("closed", path) != NULL, "realpath");
  if (strcmp(argv[1], "file") == 0) {
    int file = open("closed/file", O_RDWR | O_CREAT, 0600);
    target_require(file >= 0 && fchmod(file, 0) == 0, "file");
  } else {
    target_require(mkdir("closed/below", 0700) == 0 && chdir("closed/below") == 0, "chdir");
    target_require(chmod("../../closed", 0) == 0, "chmod");
  }

  target_ready();
  target_wait(go_file);

  target_check_number("chmod", chmod(path, 0700), 0);
  return target_finish();
}
