// Scheduling policy, nice value, affinity and timer slack of every thread are kept.
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "target.h"

enum { kThreads = 5 };

struct Schedule {
  int policy, nice, reset_on_fork;
  long slack_ns;
  cpu_set_t affinity;
};

struct Thread {
  pthread_t thread;
  int policy, nice, cpu;  // cpu -1: any
  long slack_ns;
  struct Schedule before, after;
};

static struct Thread threads[kThreads] = {
    {.policy = SCHED_OTHER, .nice = 0, .cpu = -1, .slack_ns = 50000},
    {.policy = SCHED_OTHER, .nice = 7, .cpu = 0, .slack_ns = 50000},
    {.policy = SCHED_BATCH, .nice = 3, .cpu = -1, .slack_ns = 123456},
    {.policy = SCHED_IDLE, .nice = 0, .cpu = 0, .slack_ns = 1},
    {.policy = SCHED_OTHER | SCHED_RESET_ON_FORK, .nice = 1, .cpu = -1, .slack_ns = 50000},
};
static const char* go_file;
static pthread_barrier_t started;

static struct Schedule own_schedule(void) {
  struct Schedule schedule;
  int policy = sched_getscheduler(0);
  schedule.policy = policy & ~SCHED_RESET_ON_FORK;
  schedule.reset_on_fork = (policy & SCHED_RESET_ON_FORK) != 0;
  schedule.nice = getpriority(PRIO_PROCESS, 0);
  schedule.slack_ns = prctl(PR_GET_TIMERSLACK);
  target_require(sched_getaffinity(0, sizeof schedule.affinity, &schedule.affinity) == 0,
                 "sched_getaffinity");
  return schedule;
}

static void* run(void* argument) {
  struct Thread* self = argument;
  struct sched_param none = {0};
  target_require(setpriority(PRIO_PROCESS, 0, self->nice) == 0, "setpriority");
  if (self->cpu >= 0) {
    cpu_set_t allowed;
    cpu_set_t one;
    sched_getaffinity(0, sizeof allowed, &allowed);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
      if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &one);
    }
    target_require(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
  }
  prctl(PR_SET_TIMERSLACK, self->slack_ns);
  target_require(sched_setscheduler(0, self->policy, &none) == 0, "sched_setscheduler");
  self->before = own_schedule();
  pthread_barrier_wait(&started);
  target_wait(go_file);
  self->after = own_schedule();
  return NULL;
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  pthread_barrier_init(&started, NULL, kThreads + 1);
  for (int i = 0; i < kThreads; i++) {
    target_require(pthread_create(&threads[i].thread, NULL, run, &threads[i]) == 0, "pthread_create");
  }
  pthread_barrier_wait(&started);

  target_ready();
  for (int i = 0; i < kThreads; i++) {
    pthread_join(threads[i].thread, NULL);
    const struct Schedule* before = &threads[i].before;
    const struct Schedule* after = &threads[i].after;
    target_check_number("policy", after->policy, before->policy);
    target_check_number("nice", after->nice, before->nice);
    target_check_number("reset on fork", after->reset_on_fork, before->reset_on_fork);
    target_check_number("timer slack", after->slack_ns, before->slack_ns);
    if (!CPU_EQUAL(&after->affinity, &before->affinity)) {
      target_differs("affinity of thread %d: %d cpus instead of %d, or others", i,
                     CPU_COUNT(&after->affinity), CPU_COUNT(&before->affinity));
    }
  }
  return target_finish();
}
