// Has a child process, whose id it prints; a checkpoint has to refuse it, and both must survive that.
#include <signal.h>
#include <sys/wait.h>

#include "target.h"

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  pid_t child = fork();
  target_require(child >= 0, "fork");
  if (child == 0) {
    pause();
    _exit(3);
  }
  printf("child %d\n", child);

  target_ready();
  target_wait(go_file);

  int status = 0;
  target_check_number("waitpid while the child lives", waitpid(child, &status, WNOHANG | WUNTRACED), 0);
  kill(child, SIGTERM);
  target_check_number("waitpid", waitpid(child, &status, 0), child);
  target_check_number("status of the child", status, SIGTERM);
  return target_finish();
}
