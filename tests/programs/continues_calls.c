// Blocking calls of one family, under way when the program is checkpointed, end as if nothing had happened:
// with the right result, not early, and not later than their own time plus the time that the program was
// away. Takes the family (or "all") and the seconds each call takes before the go file.
#include "blocking_call_run.h"

enum { kLateMs = 1000 };

static struct CallRun runs[kBlockingCalls];
static size_t run_count;

// Blocked means sleeping: state S of the thread, seen from outside of it.
static bool is_asleep(pid_t tid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
  FILE* stat = fopen(path, "re");
  if (stat == NULL) return false;
  char state = 0;
  bool asleep = fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'S';
  fclose(stat);
  return asleep;
}

static bool all_others_asleep(void) {
  pid_t self = getpid();
  for (size_t i = 0; i < run_count; i++) {
    pid_t tid = __atomic_load_n(&runs[i].tid, __ATOMIC_SEQ_CST);
    if (tid == 0 || (tid != self && !is_asleep(tid))) return false;
  }
  return true;
}

static bool all_done(void) {
  for (size_t i = 0; i < run_count; i++) {
    if (__atomic_load_n(&runs[i].done, __ATOMIC_SEQ_CST) == 0) return false;
  }
  return true;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 4, "needs a family and seconds");
  call_seconds = strtol(argv[2], NULL, 10);
  for (size_t i = 0; i < kBlockingCalls; i++) {
    const char* family = blocking_calls[i].family;
    bool restorable = strcmp(family, "other") != 0 && strcmp(family, "child") != 0;
    if (strcmp(argv[1], family) != 0 && !(restorable && strcmp(argv[1], "all") == 0)) continue;
    start_blocking_call(&runs[run_count++], &blocking_calls[i]);
  }
  target_require(run_count > 0, "no such family of calls");
  while (!all_others_asleep() && !all_done()) target_sleep_ms(1);

  target_ready();
  // A tick that comes late by more than the machine may be slow: the program was away.
  int64_t away_ns = 0;
  int64_t last_ns = target_now_ns(CLOCK_MONOTONIC);
  while (!target_told_to_go(go_file) || !all_done()) {
    target_sleep_ms(10);
    int64_t now_ns = target_now_ns(CLOCK_MONOTONIC);
    if (now_ns - last_ns > 30000000) away_ns += now_ns - last_ns;
    last_ns = now_ns;
  }
  int64_t at_most_ns = call_seconds * 1000000000 + away_ns + (int64_t)kLateMs * 1000000;
  for (size_t i = 0; i < run_count; i++) {
    pthread_join(runs[i].thread, NULL);
    check_blocking_call(&runs[i], at_most_ns);
  }
  return target_finish();
}
