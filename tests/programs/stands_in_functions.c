// Every thread stands in a chain of functions with known names: the main thread in a signal handler on an
// alternate stack, above a recursion; others wait for a word, or spin. What a stack trace must show is in
// tests/e2e/shows_stacks.sh.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "target.h"

#define KEPT __attribute__((noinline, noclone))

static const char* go_file;
static atomic_int standing;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static volatile int spun;

// Work after the call: it is not the last thing that the function does, so it keeps its frame.
static atomic_int returned;

KEPT static void wait_at_gate(void) {
  standing++;
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
}

KEPT static void waits_inside(void) {
  wait_at_gate();
  returned++;
}

KEPT static void spins_inside(void) {
  standing++;
  while (access(go_file, F_OK) != 0) spun++;
}

KEPT static void* waiting_thread(void* argument) {
  waits_inside();
  returned++;
  return argument;
}

KEPT static void* spinning_thread(void* argument) {
  spins_inside();
  returned++;
  return argument;
}

KEPT static void in_handler(void) {
  while (standing < 2) usleep(1000);
  target_ready();
  target_wait(go_file);
}

static void on_signal(int signal) {
  in_handler();
  returned += signal != 0;
}

KEPT static void descends(int depth) {
  if (depth > 0) {
    descends(depth - 1);
  } else {
    raise(SIGUSR1);
  }
  returned++;
}

int main(int argc, char** argv) {
  target_require(argc == 2, "usage: stands_in_functions GO_FILE");
  go_file = argv[1];
  static char stack[1 << 16];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack, .ss_flags = 0};
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  target_require(sigaltstack(&alternate, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0, "no handler");
  pthread_mutex_lock(&gate);
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, waiting_thread, NULL);
  pthread_create(&threads[1], NULL, spinning_thread, NULL);
  descends(5);
  pthread_mutex_unlock(&gate);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  target_check_number("functions that returned", returned, 6 + 1 + 2 + 1);
  return target_finish();
}
