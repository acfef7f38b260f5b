// Runs from a copy of its file, which it removes, as an update does with the file of a program that runs.
// Takes the name of the copy before the go file.
#include <fcntl.h>

#include "target.h"

static int written_global = 1;
static const char* const kConstant = "a constant of the file";

static void copy_file(const char* from, const char* to) {
  static char bytes[1 << 16];
  int source = open(from, O_RDONLY | O_CLOEXEC);
  int target = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  target_require(source >= 0 && target >= 0, "open");
  for (ssize_t got; (got = read(source, bytes, sizeof bytes)) > 0;)
    target_require(write(target, bytes, (size_t)got) == got, "write");
  close(source);
  close(target);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a name");
  if (access(argv[1], F_OK) != 0) {
    copy_file("/proc/self/exe", argv[1]);
    execv(argv[1], argv);
    target_require(false, "execv");
  }
  target_require(unlink(argv[1]) == 0, "unlink");
  written_global = 2;

  target_ready();
  target_wait(go_file);

  target_check_number("a variable", written_global, 2);
  target_check_string("a constant", kConstant, "a constant of the file");
  target_check_number("the file", access(argv[1], F_OK), -1);
  return target_finish();
}
