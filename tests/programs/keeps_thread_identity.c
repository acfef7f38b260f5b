// Process and thread ids, names, thread-local storage, and pthread_join of every thread are as before.
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "target.h"

enum { kThreads = 8 };

struct Thread {
  pthread_t thread;
  int number;
  pid_t tid_before, tid_after;
  void* local_at_before;
  void* local_at_after;
  long long local_after;
  char name_after[32];
  int signals;
};

static struct Thread threads[kThreads];
static const char* go_file;
static pthread_barrier_t started;
static _Thread_local long long local = 17;
static _Thread_local struct Thread* self;

static void handle(int signal) {
  (void)signal;
  self->signals++;
}

static void* run(void* argument) {
  self = argument;
  char name[16];
  snprintf(name, sizeof name, "worker \"%d\"", self->number);
  prctl(PR_SET_NAME, name);
  local += 1000 * self->number;
  self->tid_before = gettid();
  self->local_at_before = &local;
  pthread_barrier_wait(&started);
  target_wait(go_file);
  self->tid_after = gettid();
  self->local_at_after = &local;
  self->local_after = local;
  prctl(PR_GET_NAME, self->name_after);
  tgkill(getpid(), self->tid_before, SIGUSR1);
  return (void*)(intptr_t)(self->number * 3 + 1);
}

static void check_thread(struct Thread* thread) {
  void* result = NULL;
  target_check_number("pthread_join", pthread_join(thread->thread, &result), 0);
  target_check_number("what the thread returned", (long long)(intptr_t)result, thread->number * 3 + 1);
  target_check_number("gettid", thread->tid_after, thread->tid_before);
  target_check_number("thread-local variable", thread->local_after, 17 + 1000 * thread->number);
  if (thread->local_at_after != thread->local_at_before) {
    target_differs("thread-local variable at %p instead of %p", thread->local_at_after,
                   thread->local_at_before);
  }
  target_check_number("signals sent to the thread by its id", thread->signals, 1);
  char name[16];
  snprintf(name, sizeof name, "worker \"%d\"", thread->number);
  target_check_string("thread name", thread->name_after, name);
}

static int count_threads(void) {
  FILE* status = fopen("/proc/self/status", "re");
  target_require(status != NULL, "/proc/self/status");
  char line[256];
  int count = -1;
  while (fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, "Threads:", 8) == 0) count = (int)strtol(line + 8, NULL, 10);
  }
  fclose(status);
  return count;
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  struct sigaction action = {.sa_handler = handle};
  sigaction(SIGUSR1, &action, NULL);
  pthread_barrier_init(&started, NULL, kThreads + 1);
  for (int i = 0; i < kThreads; i++) {
    threads[i].number = i;
    target_require(pthread_create(&threads[i].thread, NULL, run, &threads[i]) == 0, "pthread_create");
  }
  pthread_barrier_wait(&started);
  pid_t pid = getpid();
  pid_t tid = gettid();

  target_ready();
  for (int i = 0; i < kThreads; i++) check_thread(&threads[i]);
  target_check_number("getpid", getpid(), pid);
  target_check_number("gettid of the main thread", gettid(), tid);
  target_check_number("threads left", count_threads(), 1);
  pthread_t late;
  threads[0].signals = 0;
  pthread_barrier_init(&started, NULL, 1);
  target_check_number("pthread_create", pthread_create(&late, NULL, run, &threads[0]), 0);
  target_check_number("pthread_join of a new thread", pthread_join(late, NULL), 0);
  return target_finish();
}
