// Restartable sequences that libc registered stay registered in every thread: the kernel keeps the cpu number
// there right, and refuses to register again.
#include <pthread.h>
#include <sched.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#include "target.h"

enum { kThreads = 4, kRounds = 1000, kRegisteredBytes = 32 };

static const char* go_file;
static pthread_barrier_t started;

static struct rseq* own_rseq(void) {
  return (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
}

static void check_cpu(const char* when) {
  // The thread may move between two looks, but not every time.
  for (int i = 0; i < kRounds; i++) {
    uint32_t before = __atomic_load_n(&own_rseq()->cpu_id, __ATOMIC_SEQ_CST);
    unsigned cpu = 0;
    syscall(SYS_getcpu, &cpu, NULL, NULL);
    if (before == cpu) return;
  }
  target_differs("%s: cpu_id is %d, never the cpu that the thread runs on", when, (int)own_rseq()->cpu_id);
}

static void check_registered(const char* when) {
  long result = syscall(SYS_rseq, own_rseq(), kRegisteredBytes, 0, RSEQ_SIG);
  if (result != -1 || errno != EBUSY) {
    target_differs("%s: registering again: %ld, %s, instead of %s", when, result, strerror(errno),
                   strerror(EBUSY));
  }
}

// On every cpu in turn, so that a number that stands still is noticed.
static void check_everywhere(void) {
  cpu_set_t allowed;
  target_require(sched_getaffinity(0, sizeof allowed, &allowed) == 0, "sched_getaffinity");
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    target_require(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
    target_check_number("cpu_id on a chosen cpu", own_rseq()->cpu_id, (long long)cpu);
  }
}

static void* run(void* argument) {
  check_cpu("before");
  check_registered("before");
  if (argument == NULL) pthread_barrier_wait(&started);
  target_wait(go_file);
  check_cpu("after");
  check_registered("after");
  check_everywhere();
  return NULL;
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  target_require(__rseq_size != 0, "libc did not register rseq");
  pthread_barrier_init(&started, NULL, kThreads + 1);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) {
    target_require(pthread_create(&threads[i], NULL, run, NULL) == 0, "pthread_create");
  }
  pthread_barrier_wait(&started);
  target_ready();
  run(argv);
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  return target_finish();
}
