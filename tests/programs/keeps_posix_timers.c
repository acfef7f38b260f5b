// POSIX timers keep their ids, clock, way of notifying, value, interval and remaining time.
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "target.h"

enum { kTimers = 6, kFarSeconds = 1000 };

// Raw calls: libc hides the kernel's ids.
static int create(clockid_t clock, int notify, int signal, int value, pid_t tid) {
  struct sigevent event = {.sigev_notify = notify, .sigev_signo = signal, .sigev_value.sival_int = value};
  event._sigev_un._tid = tid;
  int id = -1;
  target_require(syscall(SYS_timer_create, clock, &event, &id) == 0, "timer_create");
  return id;
}

static void arm(int id, long first_ms, long interval_ms) {
  struct itimerspec when = {.it_interval = {interval_ms / 1000, interval_ms % 1000 * 1000000},
                            .it_value = {first_ms / 1000, first_ms % 1000 * 1000000}};
  target_require(syscall(SYS_timer_settime, id, 0, &when, NULL) == 0, "timer_settime");
}

static void check_left(const char* what, int id, double at_least, double at_most, long interval_ms) {
  struct itimerspec now;
  if (syscall(SYS_timer_gettime, id, &now) != 0) {
    target_differs("%s: timer %d: %s", what, id, strerror(errno));
    return;
  }
  double left = (double)now.it_value.tv_sec + (double)now.it_value.tv_nsec / 1e9;
  if (left < at_least || left > at_most)
    target_differs("%s: %.3f s left, not %.3f to %.3f", what, left, at_least, at_most);
  target_check_number(what, now.it_interval.tv_sec * 1000 + now.it_interval.tv_nsec / 1000000, interval_ms);
}

static void expect_expiry(const char* what, int signal, int value, int id) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info = {0};
  struct timespec limit = {20, 0};
  int got = sigtimedwait(&set, &info, &limit);
  if (got != signal) {
    target_differs("%s does not expire: %s", what, strerror(errno));
    return;
  }
  target_check_number("si_code of a timer's signal", info.si_code, SI_TIMER);
  target_check_number("si_value of a timer's signal", info.si_value.sival_int, value);
  target_check_number("si_timerid of a timer's signal", info.si_timerid, id);
}

// What /proc says of all timers, but for the ids of processes and threads: it may see this process by another
// one.
static size_t list_timers(char* text, size_t size_bytes) {
  FILE* timers = fopen("/proc/self/timers", "re");
  if (timers == NULL) return 0;
  size_t used = 0;
  char line[256];
  while (fgets(line, sizeof line, timers) != NULL) {
    if (strncmp(line, "notify:", 7) == 0) line[strcspn(line, ".\n")] = '\n';
    size_t length = strcspn(line, "\n") + 1;
    line[length] = '\0';
    if (used + length >= size_bytes) break;
    memcpy(text + used, line, length + 1);
    used += length;
  }
  fclose(timers);
  return used;
}

static volatile sig_atomic_t ticks;
static void count_tick(union sigval value) { ticks = ticks + value.sival_int; }

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  static char before[8192];
  static char after[8192];
  sigset_t blocked;
  sigemptyset(&blocked);
  for (int i = 0; i < 4; i++) sigaddset(&blocked, SIGRTMIN + 1 + i);
  pthread_sigmask(SIG_BLOCK, &blocked, NULL);

  int ids[kTimers];
  for (int i = 0; i < kTimers; i++) ids[i] = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, i, 0);
  // Gaps in the ids.
  syscall(SYS_timer_delete, ids[0]);
  syscall(SYS_timer_delete, ids[2]);
  syscall(SYS_timer_delete, ids[4]);
  int far = ids[1];
  int far_absolute = ids[5];
  int repeating = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 4711, 0);
  int of_thread = create(CLOCK_REALTIME, SIGEV_THREAD_ID, SIGRTMIN + 2, 4712, gettid());
  int cpu_time = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN + 3, 4713, 0);
  int unarmed = create(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGRTMIN + 4, 4714, 0);
  arm(far, kFarSeconds * 1000, 33000);
  arm(repeating, 50, 50);
  arm(of_thread, 60, 60);
  arm(cpu_time, kFarSeconds * 1000, 0);
  int64_t set_ns = target_now_ns(CLOCK_MONOTONIC);
  struct itimerspec absolute = {.it_value = {set_ns / 1000000000 + kFarSeconds, 0}};
  syscall(SYS_timer_settime, far_absolute, TIMER_ABSTIME, &absolute, NULL);

  timer_t of_libc;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 1};
  event.sigev_notify_function = count_tick;
  target_require(timer_create(CLOCK_MONOTONIC, &event, &of_libc) == 0, "timer_create");
  struct itimerspec often = {{0, 30000000}, {0, 30000000}};
  target_require(timer_settime(of_libc, 0, &often, NULL) == 0, "timer_settime");
  list_timers(before, sizeof before);

  target_ready();
  target_wait(go_file);

  list_timers(after, sizeof after);
  target_check_string("/proc/self/timers", after, before);
  double away = (double)(target_now_ns(CLOCK_MONOTONIC) - set_ns) / 1e9;
  check_left("relative timer", far, kFarSeconds - away - 1, kFarSeconds, 33000);
  check_left("absolute timer", far_absolute, kFarSeconds - away - 2, kFarSeconds + 1, 0);
  check_left("timer of processor time", cpu_time, kFarSeconds - 10, kFarSeconds, 0);
  check_left("timer that was not armed", unarmed, 0, 0, 0);
  // One may be pending from before; the timer itself must go on expiring.
  for (int i = 0; i < 3; i++) {
    expect_expiry("repeating timer", SIGRTMIN + 1, 4711, repeating);
    expect_expiry("timer of a thread", SIGRTMIN + 2, 4712, of_thread);
  }
  int seen = ticks;
  while (ticks < seen + 3) target_sleep_ms(5);
  return target_finish();
}
