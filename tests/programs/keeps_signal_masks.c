// Every thread keeps its own signal mask and its own alternate stack, and handlers run on that stack.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "target.h"

enum { kThreads = 5, kStackBytes = 64 * 1024 };

struct Thread {
  pthread_t thread;
  unsigned number;
  uint64_t mask_before, mask_after;
  stack_t stack_before, stack_after;
  void* handled_at;  // an address on the stack that the handler ran on
};

static struct Thread threads[kThreads];
static _Thread_local struct Thread* self;
static const char* go_file;
static pthread_barrier_t all_set_up;

static uint64_t mask(void) {
  uint64_t bits = 0;
  target_require(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &bits, sizeof bits) == 0, "rt_sigprocmask");
  return bits;
}

static void handle(int signal) {
  (void)signal;
  self->handled_at = __builtin_frame_address(0);
}

static void* run(void* argument) {
  self = argument;
  sigset_t blocked;
  sigemptyset(&blocked);
  for (unsigned i = 0; i < 4; i++) sigaddset(&blocked, SIGRTMIN + (int)(self->number * 4 + i));
  sigaddset(&blocked, SIGUSR2);
  pthread_sigmask(SIG_SETMASK, &blocked, NULL);
  if (self->number % 2 == 0) {
    stack_t stack = {.ss_size = kStackBytes * (1 + self->number)};
    stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    target_require(stack.ss_sp != MAP_FAILED && sigaltstack(&stack, NULL) == 0, "sigaltstack");
  }
  self->mask_before = mask();
  sigaltstack(NULL, &self->stack_before);
  pthread_barrier_wait(&all_set_up);
  target_wait(go_file);
  self->mask_after = mask();
  sigaltstack(NULL, &self->stack_after);
  pthread_kill(pthread_self(), SIGUSR1);
  return NULL;
}

static void check_thread(const struct Thread* thread) {
  if (thread->mask_after != thread->mask_before) {
    target_differs("signal mask of thread %u: %llx instead of %llx", thread->number,
                   (unsigned long long)thread->mask_after, (unsigned long long)thread->mask_before);
  }
  const stack_t* before = &thread->stack_before;
  const stack_t* after = &thread->stack_after;
  if (after->ss_sp != before->ss_sp || after->ss_size != before->ss_size ||
      after->ss_flags != before->ss_flags) {
    target_differs("alternate stack of thread %u: %p %zu %d instead of %p %zu %d", thread->number,
                   after->ss_sp, after->ss_size, after->ss_flags, before->ss_sp, before->ss_size,
                   before->ss_flags);
  }
  unsigned char* handled_at = thread->handled_at;
  unsigned char* start = before->ss_sp;
  bool on_stack = start != NULL && handled_at >= start && handled_at < start + before->ss_size;
  if (handled_at == NULL || on_stack != (thread->number % 2 == 0)) {
    target_differs("handler of thread %u ran at %p, its alternate stack is at %p", thread->number,
                   thread->handled_at, before->ss_sp);
  }
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR1, &action, NULL);
  pthread_barrier_init(&all_set_up, NULL, kThreads + 1);
  for (unsigned i = 0; i < kThreads; i++) {
    threads[i].number = i;
    target_require(pthread_create(&threads[i].thread, NULL, run, &threads[i]) == 0, "pthread_create");
  }
  pthread_barrier_wait(&all_set_up);

  target_ready();
  for (unsigned i = 0; i < kThreads; i++) {
    pthread_join(threads[i].thread, NULL);
    check_thread(&threads[i]);
  }
  return target_finish();
}
