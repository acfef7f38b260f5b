// Has a child process that shares its descriptors, as clone(2) makes them; a checkpoint has to refuse it, and
// both must survive that.
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  long child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
  target_require(child >= 0, "clone");
  if (child == 0) {
    for (;;) pause();
  }
  printf("child %ld\n", child);

  target_ready();
  target_wait(go_file);

  int status = 0;
  target_check_number("waitpid while the child lives", waitpid((pid_t)child, &status, WNOHANG | WUNTRACED),
                      0);
  kill((pid_t)child, SIGTERM);
  target_check_number("waitpid", waitpid((pid_t)child, &status, 0), child);
  target_check_number("status of the child", status, SIGTERM);
  return target_finish();
}
