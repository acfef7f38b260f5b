// Makes calls of blocking_calls.h, each in a thread of its own, and checks how each ended.
#pragma once

#include "blocking_calls.h"

// One call being made.
struct CallRun {
  const struct BlockingCall* call;
  pthread_t thread;
  pid_t tid;  // 0 until the thread runs
  int64_t started_ns, ended_ns;
  long result;
  int error;
  int done;
};

static inline void* run_blocking_call(void* argument) {
  struct CallRun* run = (struct CallRun*)argument;
  __atomic_store_n(&run->tid, gettid(), __ATOMIC_SEQ_CST);
  errno = 0;
  run->result = run->call->make();
  run->error = run->result < 0 ? errno : 0;
  run->ended_ns = target_now_ns(CLOCK_MONOTONIC);
  __atomic_store_n(&run->done, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static inline void start_blocking_call(struct CallRun* run, const struct BlockingCall* call) {
  run->call = call;
  run->started_ns = target_now_ns(CLOCK_MONOTONIC);
  target_require(pthread_create(&run->thread, NULL, run_blocking_call, run) == 0, "pthread_create");
}

// What the call returned, and that it took neither less than asked for nor more than `at_most_ns`.
static inline void check_blocking_call(const struct CallRun* run, int64_t at_most_ns) {
  const struct BlockingCall* call = run->call;
  if (run->result != call->result || run->error != call->error) {
    target_differs("%s: returned %ld (%s) instead of %ld (%s)", call->name, run->result,
                   run->error == 0 ? "no error" : strerrorname_np(run->error), call->result,
                   call->error == 0 ? "no error" : strerrorname_np(call->error));
  }
  // Timers of different clocks may be this far apart.
  const int64_t early_ns = 5000000;
  int64_t took_ns = run->ended_ns - run->started_ns;
  if (took_ns < call_seconds * 1000000000 - early_ns || took_ns > at_most_ns) {
    target_differs("%s: took %.3f s instead of %ld s (at most %.3f s)", call->name, (double)took_ns / 1e9,
                   call_seconds, (double)at_most_ns / 1e9);
  }
}
