// Takes a process id, so that nobody else can have it: a child with the id given as the only argument. Says
// so, and stays until it is killed. Needs root (clone3 with set_tid).
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

int main(int argc, char** argv) {
  target_require(argc == 2, "needs a process id");
  pid_t wanted = (pid_t)strtol(argv[1], NULL, 10);
  struct clone_args arguments = {
      .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&wanted, .set_tid_size = 1};
  long child = syscall(SYS_clone3, &arguments, sizeof arguments);
  target_require(child >= 0, "clone3");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  printf("holds %ld\n", child);
  fflush(stdout);
  for (;;) pause();
}
