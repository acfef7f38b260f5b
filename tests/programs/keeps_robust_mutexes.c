// The robust lists are kept: when a thread dies with robust mutexes locked, the next owner is told.
#include <pthread.h>

#include "target.h"

enum { kMutexes = 3 };

static pthread_mutex_t mutexes[kMutexes];
static const char* go_file;
static pthread_barrier_t locked;

static void* die_with_mutexes(void* argument) {
  for (int i = 0; i < kMutexes; i++)
    target_require(pthread_mutex_lock(&mutexes[i]) == 0, "pthread_mutex_lock");
  pthread_barrier_wait(&locked);
  target_wait(go_file);
  return argument;
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  pthread_mutexattr_t robust;
  pthread_mutexattr_init(&robust);
  pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  for (int i = 0; i < kMutexes; i++) pthread_mutex_init(&mutexes[i], &robust);
  pthread_barrier_init(&locked, NULL, 2);
  pthread_t thread;
  target_require(pthread_create(&thread, NULL, die_with_mutexes, NULL) == 0, "pthread_create");
  pthread_barrier_wait(&locked);

  target_ready();
  pthread_join(thread, NULL);

  for (int i = 0; i < kMutexes; i++) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 10;
    int result = pthread_mutex_timedlock(&mutexes[i], &deadline);
    target_check_number("locking a mutex whose owner died", result, EOWNERDEAD);
    if (result != EOWNERDEAD) continue;
    target_check_number("pthread_mutex_consistent", pthread_mutex_consistent(&mutexes[i]), 0);
    target_check_number("pthread_mutex_unlock", pthread_mutex_unlock(&mutexes[i]), 0);
    target_check_number("locking it again", pthread_mutex_lock(&mutexes[i]), 0);
  }
  return target_finish();
}
