// Says which signals reach it, with their values; ends when the go file exists, with the status before it.
//
//   reports_signals [EXIT_STATUS] GO_FILE
#include <signal.h>

#include "target.h"

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  int status = argc > 2 ? (int)strtol(argv[1], NULL, 10) : 0;
  sigset_t reported;
  sigfillset(&reported);
  // These do to the program what they always do.
  const int kUsual[] = {SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGQUIT, SIGSEGV};
  for (size_t i = 0; i < sizeof kUsual / sizeof *kUsual; i++) sigdelset(&reported, kUsual[i]);
  sigprocmask(SIG_BLOCK, &reported, NULL);

  target_ready();
  while (!target_told_to_go(go_file)) {
    siginfo_t info = {0};
    struct timespec limit = {0, 10000000};
    int signal = sigtimedwait(&reported, &info, &limit);
    if (signal < 0) continue;
    printf("signal %s value %d\n", signal < SIGRTMIN ? sigabbrev_np(signal) : "RT",
           info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
    fflush(stdout);
  }
  return status;
}
