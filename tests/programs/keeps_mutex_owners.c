// Threads that hold mutexes of every type that remembers its owner go on holding them, also under new ids:
// unlocking and locking them again works, and those who wait for one get it. Timers and signals for a thread
// still reach it. Prints its process id and thread ids before and after.
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "target.h"

enum { kThreads = 3 };

struct Kind {
  const char* name;
  int type, robust, protocol;
};

static const struct Kind kinds[] = {
    {"recursive", PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE},
    {"error-checking", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE},
    {"robust", PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE},
    {"robust recursive", PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE},
    {"robust error-checking", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE},
    {"inheriting", PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT},
    {"inheriting recursive", PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT},
    {"inheriting robust", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_INHERIT},
};
enum { kKinds = sizeof kinds / sizeof kinds[0] };

struct Holder {
  pthread_t thread;
  pid_t tid;
  pthread_mutex_t* mutexes;
  pthread_t waiters[kKinds];
};

static struct Holder holders[kThreads];
static pthread_mutex_t of_first_holder[kKinds];  // the others' are on the heap
static const char* go_file;
static pthread_barrier_t held;

static void make_mutex(pthread_mutex_t* mutex, const struct Kind* kind) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, kind->type);
  pthread_mutexattr_setrobust(&attributes, kind->robust);
  pthread_mutexattr_setprotocol(&attributes, kind->protocol);
  target_require(pthread_mutex_init(mutex, &attributes) == 0, "pthread_mutex_init");
}

static void start_own_timer(void) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1};
  event._sigev_un._tid = gettid();
  timer_t timer;
  struct itimerspec often = {{0, 20000000}, {0, 20000000}};
  target_require(
      timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0,
      "a timer of a thread");
}

static void expect_signal(const char* what, int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  struct timespec limit = {20, 0};
  if (sigtimedwait(&set, NULL, &limit) != signal)
    target_differs("%s does not come: %s", what, strerror(errno));
}

static void check_held(pthread_mutex_t* mutex, const struct Kind* kind) {
  if (kind->type == PTHREAD_MUTEX_RECURSIVE) {
    target_check_number(kind->name, pthread_mutex_lock(mutex), 0);
    target_check_number(kind->name, pthread_mutex_unlock(mutex), 0);
    target_check_number(kind->name, pthread_mutex_unlock(mutex), 0);
  } else if (kind->type == PTHREAD_MUTEX_ERRORCHECK) {
    target_check_number(kind->name, pthread_mutex_lock(mutex), EDEADLK);
  }
  target_check_number(kind->name, pthread_mutex_unlock(mutex), 0);
}

static void* hold(void* argument) {
  struct Holder* holder = argument;
  holder->tid = gettid();
  for (int i = 0; i < kKinds; i++) {
    make_mutex(&holder->mutexes[i], &kinds[i]);
    target_require(pthread_mutex_lock(&holder->mutexes[i]) == 0, kinds[i].name);
    if (kinds[i].type == PTHREAD_MUTEX_RECURSIVE) pthread_mutex_lock(&holder->mutexes[i]);
  }
  start_own_timer();
  pthread_barrier_wait(&held);
  target_wait(go_file);
  holder->tid = gettid();
  for (int i = 0; i < kKinds; i++) check_held(&holder->mutexes[i], &kinds[i]);
  // One may be pending from before.
  for (int i = 0; i < 3; i++) expect_signal("the signal of a thread's timer", SIGRTMIN + 1);
  target_check_number("pthread_kill", pthread_kill(pthread_self(), SIGUSR1), 0);
  expect_signal("a signal for the thread itself", SIGUSR1);
  return NULL;
}

static void* wait_for_mutex(void* argument) {
  pthread_mutex_t* mutex = argument;
  int locked = pthread_mutex_lock(mutex);
  target_check_number("locking a mutex that was waited for", locked, 0);
  if (locked == 0) target_check_number("unlocking it", pthread_mutex_unlock(mutex), 0);
  return NULL;
}

static void print_ids(const char* when) {
  printf("%s: process %d threads", when, getpid());
  for (int i = 0; i < kThreads; i++) printf(" %d", holders[i].tid);
  printf("\n");
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGRTMIN + 1);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, NULL);
  pthread_barrier_init(&held, NULL, kThreads + 1);
  for (int i = 0; i < kThreads; i++) {
    holders[i].mutexes = i == 0 ? of_first_holder : calloc(kKinds, sizeof(pthread_mutex_t));
    pthread_create(&holders[i].thread, NULL, hold, &holders[i]);
  }
  pthread_barrier_wait(&held);
  for (int k = 0; k < kKinds; k++)
    pthread_create(&holders[0].waiters[k], NULL, wait_for_mutex, &of_first_holder[k]);
  print_ids("before");

  target_ready();
  target_wait(go_file);

  target_check_number("gettid of the main thread", gettid(), getpid());
  target_check_number("a signal number 0 to itself", kill(getpid(), 0), 0);
  for (int i = 0; i < kThreads; i++) pthread_join(holders[i].thread, NULL);
  for (int k = 0; k < kKinds; k++) pthread_join(holders[0].waiters[k], NULL);
  print_ids("after");
  return target_finish();
}
