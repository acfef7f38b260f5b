// Many threads sleep all the time, each in its own rhythm and one of several ways; none may wake early or see
// an error.
//
//   many_threads_sleep [THREADS] GO_FILE     default: 200
#include <poll.h>
#include <pthread.h>

#include "target.h"

enum { kMaxThreads = 4096, kWays = 4 };

static const char* go_file;
static uint64_t sleeps;

static int sleep_by_nanosleep(struct timespec time) { return nanosleep(&time, NULL); }

static int sleep_until(struct timespec time) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_nsec += time.tv_nsec;
  if (at.tv_nsec >= 1000000000) {
    at.tv_sec++;
    at.tv_nsec -= 1000000000;
  }
  int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
  errno = error;
  return error == 0 ? 0 : -1;
}

static int sleep_in_poll(struct timespec time) { return ppoll(NULL, 0, &time, NULL); }

static int sleep_on_condition(struct timespec time) {
  static pthread_mutex_t mutexes[kMaxThreads];
  static pthread_cond_t conditions[kMaxThreads];
  static int used;
  static _Thread_local int own = -1;
  if (own < 0) {
    own = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
    pthread_mutex_init(&mutexes[own], NULL);
    pthread_cond_init(&conditions[own], NULL);
  }
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_nsec += time.tv_nsec;
  if (at.tv_nsec >= 1000000000) {
    at.tv_sec++;
    at.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock(&mutexes[own]);
  int error = pthread_cond_clockwait(&conditions[own], &mutexes[own], CLOCK_MONOTONIC, &at);
  pthread_mutex_unlock(&mutexes[own]);
  errno = error;
  return error == ETIMEDOUT ? 0 : -1;
}

static const struct {
  const char* name;
  int (*sleep)(struct timespec time);
} ways[kWays] = {
    {"nanosleep", sleep_by_nanosleep},
    {"absolute clock_nanosleep", sleep_until},
    {"ppoll", sleep_in_poll},
    {"pthread_cond_clockwait", sleep_on_condition},
};

static void* sleep_again_and_again(void* argument) {
  unsigned number = (unsigned)(uintptr_t)argument;
  unsigned way = number % kWays;
  for (unsigned round = 0; !target_told_to_go(go_file); round++) {
    struct timespec time = {0, (long)(1 + (number * 7 + round * 13) % 50) * 1000000};
    int64_t before_ns = target_now_ns(CLOCK_MONOTONIC);
    int result = ways[way].sleep(time);
    int error = errno;
    int64_t took_ns = target_now_ns(CLOCK_MONOTONIC) - before_ns;
    if (result != 0)
      target_differs("thread %u: %s returned %d: %s", number, ways[way].name, result, strerror(error));
    if (took_ns < time.tv_nsec) {
      target_differs("thread %u: %s of %ld ns took %lld ns", number, ways[way].name, time.tv_nsec,
                     (long long)took_ns);
    }
    __atomic_add_fetch(&sleeps, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  unsigned count = argc > 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 200;
  target_require(count > 0 && count <= kMaxThreads, "needs a number of threads");
  static pthread_t threads[kMaxThreads];
  for (unsigned i = 0; i < count; i++) {
    int error = pthread_create(&threads[i], NULL, sleep_again_and_again, (void*)(uintptr_t)i);
    target_require(error == 0, "pthread_create");
  }
  target_ready();
  while (!target_told_to_go(go_file)) {
    target_sleep_ms(100);
    printf("count %llu sleeps\n", (unsigned long long)__atomic_load_n(&sleeps, __ATOMIC_RELAXED));
    fflush(stdout);
  }
  for (unsigned i = 0; i < count; i++) pthread_join(threads[i], NULL);
  return target_finish();
}
