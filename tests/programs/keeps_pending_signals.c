// Signals that are blocked and pending, of the process and of single threads, are still pending with their
// siginfo.
#include <pthread.h>
#include <signal.h>

#include "target.h"

enum { kThreads = 2, kQueued = 10 };

static const char* go_file;
static pthread_barrier_t all_set_up;
static pthread_barrier_t all_queued;

static sigset_t blocked_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGTERM);
  for (int i = SIGRTMIN; i <= SIGRTMIN + 3; i++) sigaddset(&set, i);
  return set;
}

static void expect_signal(const char* what, int signal, int code, int value) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info = {0};
  struct timespec at_once = {0, 0};
  if (sigtimedwait(&set, &info, &at_once) != signal) {
    target_differs("%s: signal %d with value %d is not pending: %s", what, signal, value, strerror(errno));
    return;
  }
  target_check_number("si_code", info.si_code, code);
  target_check_number("si_pid", info.si_pid, getpid());
  target_check_number("si_uid", info.si_uid, getuid());
  if (code == SI_QUEUE) target_check_number("si_value", info.si_value.sival_int, value);
}

static void expect_none(const char* what) {
  sigset_t set = blocked_signals();
  siginfo_t info = {0};
  struct timespec at_once = {0, 0};
  int signal = sigtimedwait(&set, &info, &at_once);
  if (signal > 0) target_differs("%s: signal %d more than was sent, code %d", what, signal, info.si_code);
}

static void* run(void* argument) {
  int number = (int)(intptr_t)argument;
  pthread_barrier_wait(&all_set_up);
  pthread_barrier_wait(&all_queued);
  target_wait(go_file);
  for (int i = 0; i < kQueued; i++) {
    expect_signal("of a thread", SIGRTMIN + 2, SI_QUEUE, 1000 * (number + 1) + i);
  }
  expect_signal("of a thread", SIGUSR1, SI_USER, 0);  // libc shows SI_TKILL so
  return NULL;
}

static void queue_signals(pthread_t* threads) {
  for (int i = 0; i < kQueued; i++) {
    union sigval value = {.sival_int = 100 + i};
    target_require(sigqueue(getpid(), SIGRTMIN + (i % 2), value) == 0, "sigqueue");
  }
  target_require(kill(getpid(), SIGTERM) == 0, "kill");
  for (int t = 0; t < kThreads; t++) {
    for (int i = 0; i < kQueued; i++) {
      union sigval value = {.sival_int = 1000 * (t + 1) + i};
      target_require(pthread_sigqueue(threads[t], SIGRTMIN + 2, value) == 0, "pthread_sigqueue");
    }
    target_require(pthread_kill(threads[t], SIGUSR1) == 0, "pthread_kill");
  }
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  sigset_t blocked = blocked_signals();
  pthread_sigmask(SIG_BLOCK, &blocked, NULL);
  pthread_barrier_init(&all_set_up, NULL, kThreads + 1);
  pthread_barrier_init(&all_queued, NULL, kThreads + 1);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) {
    target_require(pthread_create(&threads[i], NULL, run, (void*)(intptr_t)i) == 0, "pthread_create");
  }
  pthread_barrier_wait(&all_set_up);
  queue_signals(threads);
  pthread_barrier_wait(&all_queued);

  target_ready();
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);

  for (int i = 0; i < kQueued; i += 2) expect_signal("of the process", SIGRTMIN, SI_QUEUE, 100 + i);
  for (int i = 1; i < kQueued; i += 2) expect_signal("of the process", SIGRTMIN + 1, SI_QUEUE, 100 + i);
  expect_signal("of the process", SIGTERM, SI_USER, 0);
  expect_none("of the process");
  return target_finish();
}
