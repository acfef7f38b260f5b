// What each signal does is kept: handler, flags, mask and restorer as the kernel has them; ignored ones stay
// ignored.
#include <signal.h>
#include <sys/syscall.h>

#include "target.h"

// The kernel's own structure; libc's hides the restorer.
struct KernelAction {
  uint64_t handler;
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};

enum { kSignals = 64 };

static struct KernelAction before[kSignals + 1];
static struct KernelAction after[kSignals + 1];
static int seen_signal;
static int seen_value;
static bool usr2_was_blocked;

static void handle(int signal, siginfo_t* info, void* context) {
  (void)context;
  seen_signal = signal;
  seen_value = info->si_value.sival_int;
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  usr2_was_blocked = sigismember(&mask, SIGUSR2) == 1;
}

static void read_actions(struct KernelAction* actions) {
  for (int signal = 1; signal <= kSignals; signal++) {
    target_require(syscall(SYS_rt_sigaction, signal, NULL, &actions[signal], 8) == 0, "rt_sigaction");
  }
}

static void set_actions(void) {
  struct sigaction action = {0};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaddset(&action.sa_mask, SIGRTMIN + 3);
  sigaction(SIGRTMIN + 1, &action, NULL);
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigaction(SIGUSR1, &action, NULL);
  action.sa_flags = (int)(SA_SIGINFO | SA_RESETHAND);
  sigaction(SIGRTMIN + 2, &action, NULL);
  action.sa_flags = SA_NOCLDSTOP | SA_NOCLDWAIT;
  action.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGWINCH, SIG_IGN);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  set_actions();
  read_actions(before);

  target_ready();
  target_wait(go_file);

  read_actions(after);
  for (int signal = 1; signal <= kSignals; signal++) {
    char what[32];
    snprintf(what, sizeof what, "action of signal %d", signal);
    target_check_bytes(what, &after[signal], &before[signal], sizeof before[signal]);
  }
  union sigval value = {.sival_int = 1234};
  sigqueue(getpid(), SIGRTMIN + 1, value);
  target_check_number("signal that the handler saw", seen_signal, SIGRTMIN + 1);
  target_check_number("value that the handler saw", seen_value, 1234);
  target_check_number("the handler's mask", usr2_was_blocked, true);
  raise(SIGPIPE);
  return target_finish();
}
