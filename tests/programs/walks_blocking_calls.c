// Makes every blocking call of the table at once, each in a thread of its own, for one second, and checks
// result and duration of each: nothing that stops and releases this process may show in either.
//
//   walks_blocking_calls [--families FAMILY,...] [--rounds N] [--late MS]
//
// Default: all but those that need a child process, once, each at most 250 ms late.
#include "blocking_call_run.h"

static struct CallRun runs[kBlockingCalls];

static bool is_wanted(const struct BlockingCall* call, const char* families) {
  if (families == NULL) return strcmp(call->family, "child") != 0;
  size_t length = strlen(call->family);
  for (const char* at = families; (at = strstr(at, call->family)) != NULL; at += length) {
    if (at[length] == ',' || at[length] == '\0') return true;
  }
  return false;
}

static void walk(const char* families, long late_ms) {
  memset(runs, 0, sizeof runs);
  size_t count = 0;
  for (size_t i = 0; i < kBlockingCalls; i++) {
    if (is_wanted(&blocking_calls[i], families)) start_blocking_call(&runs[count++], &blocking_calls[i]);
  }
  target_require(count > 0, "no such family of calls");
  for (size_t i = 0; i < count; i++) {
    pthread_join(runs[i].thread, NULL);
    printf("%-28s %3ld %-10s %.3f s\n", runs[i].call->name, runs[i].result,
           runs[i].error == 0 ? "-" : strerrorname_np(runs[i].error),
           (double)(runs[i].ended_ns - runs[i].started_ns) / 1e9);
    check_blocking_call(&runs[i], call_seconds * 1000000000 + (int64_t)late_ms * 1000000);
  }
}

int main(int argc, char** argv) {
  const char* families = NULL;
  long rounds = 1;
  long late_ms = 250;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 < argc && strcmp(argv[i], "--families") == 0) {
      families = argv[i + 1];
    } else if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0) {
      rounds = strtol(argv[i + 1], NULL, 10);
    } else if (i + 1 < argc && strcmp(argv[i], "--late") == 0) {
      late_ms = strtol(argv[i + 1], NULL, 10);
    } else {
      fprintf(stderr, "usage: %s [--families FAMILY,...] [--rounds N] [--late MS]\n", argv[0]);
      return 2;
    }
  }
  target_ready();
  for (long round = 0; round < rounds; round++) walk(families, late_ms);
  return target_finish();
}
