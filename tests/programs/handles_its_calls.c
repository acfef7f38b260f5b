// Is given a signal for each of its system calls, as some emulators are (PR_SET_SYSCALL_USER_DISPATCH); with
// the argument "probe" it only says by its exit status whether the kernel can do that.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "target.h"

enum { kSetUserDispatch = 59, kOn = 1 };

static volatile char selector;  // of the next call: 1 if it is to be handled here
static volatile sig_atomic_t handled;

static void handle(int signal) {
  (void)signal;
  selector = 0;
  ++handled;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  signal(SIGSYS, handle);
  bool dispatched = prctl(kSetUserDispatch, kOn, 0, 0, &selector) == 0;
  if (strcmp(go_file, "probe") == 0) return dispatched ? 0 : 1;
  target_require(dispatched, "PR_SET_SYSCALL_USER_DISPATCH");
  target_ready();
  int rounds = 0;
  do {
    selector = kOn;
    for (volatile long idle = 0; idle < 2000000; idle++) continue;
    syscall(SYS_getpid);
    selector = 0;
    ++rounds;
  } while (!target_told_to_go(go_file));

  target_check_number("calls that were handled", handled, rounds);
  return target_finish();
}
