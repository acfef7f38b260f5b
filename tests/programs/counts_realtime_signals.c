// Queues real-time signals, each with a value of its own, to a process whose threads handle them in the
// middle of other work, wait for them, or leave them pending for a while. Every value must arrive exactly
// once.
//
//   counts_realtime_signals [COUNT] GO_FILE     default: 20000; runs until the go file exists and all have
//   arrived
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "target.h"

enum { kMaxSignals = 1 << 20, kPerMillisecond = 4 };

static unsigned char arrivals[kMaxSignals];
static int arrived;
static int all_signals;
static int handled_signal;
static int awaited_signal;
static bool finished;

static void arrive(int value) {
  __atomic_add_fetch(&arrivals[value], 1, __ATOMIC_RELAXED);
  __atomic_add_fetch(&arrived, 1, __ATOMIC_RELAXED);
}

static void handle(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  int saved = errno;
  arrive(info->si_value.sival_int);
  errno = saved;
}

static bool is_finished(void) { return __atomic_load_n(&finished, __ATOMIC_RELAXED); }

// Takes the signals in its handler, blocks them at times, and is in system calls most of the time.
static void* handle_while_working(void* argument) {
  (void)argument;
  sigset_t handled;
  sigemptyset(&handled);
  sigaddset(&handled, handled_signal);
  while (!is_finished()) {
    pthread_sigmask(SIG_UNBLOCK, &handled, NULL);
    for (int i = 0; i < 20; i++) poll(NULL, 0, 1);
    pthread_sigmask(SIG_BLOCK, &handled, NULL);
    target_sleep_ms(5);
  }
  return NULL;
}

static void* wait_for_signals(void* argument) {
  (void)argument;
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, awaited_signal);
  struct timespec limit = {0, 20000000};
  while (!is_finished()) {
    siginfo_t info;
    int signal = sigtimedwait(&awaited, &info, &limit);
    if (signal == awaited_signal) {
      arrive(info.si_value.sival_int);
    } else if (errno != EAGAIN) {
      target_differs("sigtimedwait: %s", strerror(errno));
    }
  }
  return NULL;
}

static void* send_all(void* argument) {
  (void)argument;
  for (int i = 0; i < all_signals; i++) {
    union sigval value = {.sival_int = i};
    // A full queue is no loss: the signal was not sent.
    while (sigqueue(getpid(), i % 2 == 0 ? handled_signal : awaited_signal, value) != 0) {
      if (errno != EAGAIN) target_require(false, "sigqueue");
      target_sleep_ms(1);
    }
    if (i % kPerMillisecond == 0) target_sleep_ms(1);
  }
  return NULL;
}

static void start(pthread_t* thread, void* (*run)(void*)) {
  target_require(pthread_create(thread, NULL, run, NULL) == 0, "pthread_create");
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  all_signals = argc > 2 ? (int)strtol(argv[1], NULL, 10) : 20000;
  target_require(all_signals > 0 && all_signals <= kMaxSignals, "needs a number of signals");
  handled_signal = SIGRTMIN + 1;
  awaited_signal = SIGRTMIN + 2;
  struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};
  action.sa_sigaction = handle;
  sigaction(handled_signal, &action, NULL);
  sigset_t both;
  sigemptyset(&both);
  sigaddset(&both, handled_signal);
  sigaddset(&both, awaited_signal);
  pthread_sigmask(SIG_BLOCK, &both, NULL);
  pthread_t handler;
  pthread_t waiter;
  pthread_t sender;
  start(&handler, handle_while_working);
  start(&waiter, wait_for_signals);
  start(&sender, send_all);

  target_ready();
  pthread_join(sender, NULL);
  printf("sent %d\n", all_signals);
  fflush(stdout);
  while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < all_signals) target_sleep_ms(1);
  printf("all arrived\n");
  fflush(stdout);
  target_wait(go_file);
  __atomic_store_n(&finished, true, __ATOMIC_RELAXED);
  pthread_join(handler, NULL);
  pthread_join(waiter, NULL);
  for (int i = 0; i < all_signals; i++) {
    if (arrivals[i] != 1) target_differs("signal %d arrived %u times", i, arrivals[i]);
  }
  return target_finish();
}
