// Is in vfork(2), where nothing but its child's end or exec can stop it, until the go file exists.
#include "target.h"

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  pid_t program = getpid();
  pid_t child = vfork();
  target_require(child >= 0, "vfork");
  if (child == 0) {
    target_ready();
    while (!target_told_to_go(go_file) && getppid() == program) target_sleep_ms(10);
    _exit(0);
  }
  return target_finish();
}
