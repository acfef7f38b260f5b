// 50 threads hand a counter around with a mutex and condition variables, and none is lost or counted twice.
#include <pthread.h>

#include "target.h"

enum { kThreads = 50 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed[kThreads];
static uint64_t turn;
static bool finished;
static uint64_t own_counts[kThreads];

static void* take_turns(void* argument) {
  unsigned self = (unsigned)(uintptr_t)argument;
  pthread_mutex_lock(&mutex);
  while (true) {
    while (turn % kThreads != self && !finished) pthread_cond_wait(&turn_changed[self], &mutex);
    if (finished) break;
    turn++;
    own_counts[self]++;
    unsigned next = (unsigned)(turn % kThreads);
    if (next == 0) {
      // Once around: let the machine breathe, with the mutex free.
      pthread_mutex_unlock(&mutex);
      target_sleep_ms(1);
      pthread_mutex_lock(&mutex);
    }
    pthread_cond_signal(&turn_changed[next]);
  }
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static uint64_t current_turn(void) {
  pthread_mutex_lock(&mutex);
  uint64_t now = turn;
  pthread_mutex_unlock(&mutex);
  return now;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  pthread_t threads[kThreads];
  for (unsigned i = 0; i < kThreads; i++) pthread_cond_init(&turn_changed[i], NULL);
  for (unsigned i = 0; i < kThreads; i++) {
    target_require(pthread_create(&threads[i], NULL, take_turns, (void*)(uintptr_t)i) == 0, "pthread_create");
  }
  target_ready();
  target_wait(go_file);

  // Still going round: many turns more, or the test's own deadline.
  uint64_t goal = current_turn() + 10 * kThreads;
  while (current_turn() < goal) target_sleep_ms(1);
  pthread_mutex_lock(&mutex);
  finished = true;
  pthread_mutex_unlock(&mutex);
  for (unsigned i = 0; i < kThreads; i++) pthread_cond_broadcast(&turn_changed[i]);
  uint64_t sum = 0;
  for (unsigned i = 0; i < kThreads; i++) {
    pthread_join(threads[i], NULL);
    sum += own_counts[i];
    if (own_counts[i] + 1 < own_counts[0] || own_counts[i] > own_counts[0]) {
      target_differs("thread %u counted %llu, thread 0 %llu", i, (unsigned long long)own_counts[i],
                     (unsigned long long)own_counts[0]);
    }
  }
  target_check_number("sum of all threads' counts", (long long)sum, (long long)turn);
  return target_finish();
}
