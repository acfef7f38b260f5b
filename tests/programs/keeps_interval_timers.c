// The interval timers go on: remaining time and interval are kept, and expiries come at the right pace.
#include <signal.h>
#include <sys/time.h>

#include "target.h"

enum { kFarSeconds = 1000, kTickMs = 20, kTicks = 10 };

static volatile sig_atomic_t ticks;

static void tick(int signal) {
  (void)signal;
  ticks = ticks + 1;
}

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

// A far timer must not have been restarted or lost; where it counts real time, it may only have run on.
static void check_far(const char* what, int which, double least) {
  struct itimerval timer;
  target_require(getitimer(which, &timer) == 0, "getitimer");
  double left = seconds(timer.it_value);
  if (left > kFarSeconds + 0.1 || left < least) {
    target_differs("%s: %.3f s left, not between %.3f and %d", what, left, least, kFarSeconds);
  }
  target_check_number(what, timer.it_interval.tv_sec, 77);
  target_check_number(what, timer.it_interval.tv_usec, 500000);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  bool near = argc == 3 && strcmp(argv[1], "near") == 0;
  struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  struct itimerval far = {.it_interval = {77, 500000}, .it_value = {kFarSeconds, 0}};
  struct itimerval soon = {.it_interval = {0, kTickMs * 1000}, .it_value = {0, kTickMs * 1000}};
  target_require(setitimer(ITIMER_VIRTUAL, &far, NULL) == 0, "ITIMER_VIRTUAL");
  target_require(setitimer(ITIMER_PROF, &far, NULL) == 0, "ITIMER_PROF");
  target_require(setitimer(ITIMER_REAL, near ? &soon : &far, NULL) == 0, "ITIMER_REAL");
  int64_t set_ns = target_now_ns(CLOCK_MONOTONIC);

  target_ready();
  target_wait(go_file);

  check_far("ITIMER_VIRTUAL", ITIMER_VIRTUAL, kFarSeconds - 10);
  check_far("ITIMER_PROF", ITIMER_PROF, kFarSeconds - 10);
  if (!near) {
    check_far("ITIMER_REAL", ITIMER_REAL,
              kFarSeconds - 1 - (double)(target_now_ns(CLOCK_MONOTONIC) - set_ns) / 1e9);
    return target_finish();
  }
  int64_t start_ns = target_now_ns(CLOCK_MONOTONIC);
  int first = ticks;
  while (ticks < first + kTicks) pause();
  int64_t took_ns = target_now_ns(CLOCK_MONOTONIC) - start_ns;
  if (took_ns < (int64_t)(kTicks - 1) * kTickMs * 1000000 - 1000000) {
    target_differs("%d expiries of %d ms in %.3f s", kTicks, kTickMs, (double)took_ns / 1e9);
  }
  int64_t lived_ticks = (target_now_ns(CLOCK_MONOTONIC) - set_ns) / 1000000 / kTickMs;
  if (ticks > lived_ticks + 1)
    target_differs("%d expiries where time allows %lld", (int)ticks, (long long)lived_ticks);
  return target_finish();
}
