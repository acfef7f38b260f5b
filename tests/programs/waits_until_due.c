// Waits of every kind, all under way at once, none of which may end early, whatever happens to the machine's
// clocks meanwhile; each says when it has ended. Monotonic and boot time never go backwards, unless the
// option "jumps" allows it. A shared mapping of a file keeps its content.
//
//   waits_until_due FILE SECONDS steady|jumps GO_FILE      FILE is made, in a directory of its own
//
// The time of day is the measure here: namespaces do not shift it.
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#include "target.h"

enum { kFileBytes = 3 * 4096 + 100 };

static long seconds;

static struct timespec time_from_now(clockid_t clock) {
  struct timespec at;
  clock_gettime(clock, &at);
  at.tv_sec += seconds;
  return at;
}

static struct timespec duration(void) { return (struct timespec){seconds, 0}; }

// Each returns 0 if the wait ended as it should.
static int wait_nanosleep(void) {
  struct timespec left = duration();
  return nanosleep(&left, &left);
}

static int sleep_until(clockid_t clock) {
  struct timespec at = time_from_now(clock);
  return clock_nanosleep(clock, TIMER_ABSTIME, &at, NULL);
}

static int wait_monotonic_sleep(void) { return sleep_until(CLOCK_MONOTONIC); }
static int wait_boottime_sleep(void) { return sleep_until(CLOCK_BOOTTIME); }
static int wait_poll(void) { return poll(NULL, 0, (int)seconds * 1000); }

static int wait_epoll(void) {
  struct epoll_event event;
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  int result = epoll_wait(epoll, &event, 1, (int)seconds * 1000);
  close(epoll);
  return result;
}

static int wait_futex(int operation, const struct timespec* time) {
  static uint32_t word = 7;
  long result =
      syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, 7, time, NULL, FUTEX_BITSET_MATCH_ANY);
  return result == -1 && errno == ETIMEDOUT ? 0 : -1;
}

static int wait_relative_futex(void) {
  struct timespec left = duration();
  return wait_futex(FUTEX_WAIT, &left);
}

static int wait_absolute_futex(void) {
  struct timespec at = time_from_now(CLOCK_MONOTONIC);
  return wait_futex(FUTEX_WAIT_BITSET, &at);
}

// The loop that every careful program has: the same deadline again after each return.
static int wait_condition(void) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition;
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&condition, &attributes);
  struct timespec at = time_from_now(CLOCK_MONOTONIC);
  pthread_mutex_lock(&mutex);
  int result = 0;
  while (result == 0) result = pthread_cond_timedwait(&condition, &mutex, &at);
  pthread_mutex_unlock(&mutex);
  return result == ETIMEDOUT ? 0 : result;
}

static int wait_semaphore(void) {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  struct timespec at = time_from_now(CLOCK_MONOTONIC);
  return sem_clockwait(&semaphore, CLOCK_MONOTONIC, &at) == -1 && errno == ETIMEDOUT ? 0 : -1;
}

static int wait_signal(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  int got = 0;
  return sigwait(&set, &got) == 0 && got == signal ? 0 : -1;
}

static int wait_timer(int signal, int flags, struct timespec when) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
  event._sigev_un._tid = gettid();
  timer_t timer;
  struct itimerspec value = {.it_value = when};
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, flags, &value, NULL) != 0)
    return -1;
  return wait_signal(signal);
}

static int wait_relative_timer(void) { return wait_timer(SIGRTMIN + 1, 0, duration()); }
static int wait_absolute_timer(void) {
  return wait_timer(SIGRTMIN + 2, TIMER_ABSTIME, time_from_now(CLOCK_MONOTONIC));
}

static int wait_interval_timer(void) {
  struct itimerval value = {.it_value = {seconds, 0}};
  if (setitimer(ITIMER_REAL, &value, NULL) != 0) return -1;
  return wait_signal(SIGALRM);
}

static int wait_timerfd(clockid_t clock, int flags, struct timespec when) {
  int timer = timerfd_create(clock, TFD_CLOEXEC);
  struct itimerspec value = {.it_value = when};
  if (timer < 0 || timerfd_settime(timer, flags, &value, NULL) != 0) return -1;
  uint64_t ticks = 0;
  ssize_t got = read(timer, &ticks, sizeof ticks);
  close(timer);
  return got == sizeof ticks && ticks == 1 ? 0 : -1;
}

static int wait_relative_timerfd(void) { return wait_timerfd(CLOCK_MONOTONIC, 0, duration()); }
static int wait_absolute_timerfd(void) {
  return wait_timerfd(CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, time_from_now(CLOCK_BOOTTIME));
}

struct Wait {
  const char* name;
  int (*run)(void);
  pthread_t thread;
  int64_t lasted_ns;
  int result;
};

static struct Wait waits[] = {
    {.name = "nanosleep", .run = wait_nanosleep},
    {.name = "monotonic_sleep", .run = wait_monotonic_sleep},
    {.name = "boottime_sleep", .run = wait_boottime_sleep},
    {.name = "poll", .run = wait_poll},
    {.name = "epoll", .run = wait_epoll},
    {.name = "relative_futex", .run = wait_relative_futex},
    {.name = "absolute_futex", .run = wait_absolute_futex},
    {.name = "condition", .run = wait_condition},
    {.name = "semaphore", .run = wait_semaphore},
    {.name = "relative_timer", .run = wait_relative_timer},
    {.name = "absolute_timer", .run = wait_absolute_timer},
    {.name = "interval_timer", .run = wait_interval_timer},
    {.name = "relative_timerfd", .run = wait_relative_timerfd},
    {.name = "absolute_timerfd", .run = wait_absolute_timerfd},
};
enum { kWaits = sizeof waits / sizeof waits[0] };

static pthread_barrier_t started;

static void* run(void* argument) {
  struct Wait* wait = argument;
  pthread_barrier_wait(&started);
  int64_t begin_ns = target_now_ns(CLOCK_REALTIME);
  wait->result = wait->run();
  wait->lasted_ns = target_now_ns(CLOCK_REALTIME) - begin_ns;
  printf("%s ended\n", wait->name);
  fflush(stdout);
  return NULL;
}

// Asleep means state S, seen from outside; the main thread is the one that looks.
static bool all_others_asleep(void) {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == NULL) return false;
  size_t asleep = 0;
  for (struct dirent* entry; (entry = readdir(tasks)) != NULL;) {
    char path[300];
    char state = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
    FILE* stat = fopen(path, "re");
    if (stat == NULL) continue;
    if (fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'S') asleep++;
    fclose(stat);
  }
  closedir(tasks);
  return asleep == kWaits;
}

static void check_clock(const char* name, clockid_t clock, int64_t* last_ns) {
  int64_t now_ns = target_now_ns(clock);
  if (now_ns < *last_ns) target_differs("%s went back by %.3f s", name, (double)(*last_ns - now_ns) / 1e9);
  *last_ns = now_ns;
}

static unsigned char* map_file(const char* path) {
  char directory[4096];
  snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(path, '/') - path), path);
  umask(0);
  target_require(mkdir(directory, 0750) == 0, directory);
  int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
  target_require(fd >= 0 && ftruncate(fd, kFileBytes) == 0, path);
  unsigned char* content = mmap(NULL, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  target_require(content != MAP_FAILED, "mmap");
  close(fd);
  target_fill(content, kFileBytes, 5);
  return content;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 5, "needs a file, seconds, and steady or jumps");
  seconds = strtol(argv[2], NULL, 10);
  bool steady = strcmp(argv[3], "steady") == 0;
  unsigned char* content = map_file(argv[1]);
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGALRM);
  for (int i = 1; i <= 2; i++) sigaddset(&awaited, SIGRTMIN + i);
  pthread_sigmask(SIG_BLOCK, &awaited, NULL);

  int64_t monotonic_ns = 0;
  int64_t boottime_ns = 0;
  pthread_barrier_init(&started, NULL, kWaits + 1);
  for (int i = 0; i < kWaits; i++) {
    target_require(pthread_create(&waits[i].thread, NULL, run, &waits[i]) == 0, "pthread_create");
  }
  pthread_barrier_wait(&started);
  while (!all_others_asleep()) target_sleep_ms(1);

  target_ready();
  while (!target_told_to_go(go_file)) {
    if (steady) check_clock("monotonic time", CLOCK_MONOTONIC, &monotonic_ns);
    if (steady) check_clock("boot time", CLOCK_BOOTTIME, &boottime_ns);
    target_sleep_ms(1);
  }
  for (int i = 0; i < kWaits; i++) {
    pthread_join(waits[i].thread, NULL);
    target_check_number(waits[i].name, waits[i].result, 0);
    // The time of day may be set back a little by whoever keeps it.
    if (waits[i].lasted_ns < seconds * 1000000000LL - 20000000)
      target_differs("%s ended after %.3f s", waits[i].name, (double)waits[i].lasted_ns / 1e9);
  }
  target_check_pattern("shared mapping of a file", content, kFileBytes, 5);
  struct stat status;
  target_check_number("stat of the mapped file", stat(argv[1], &status), 0);
  target_check_number("size of the mapped file", status.st_size, kFileBytes);
  target_check_number("permissions of the mapped file", status.st_mode & 07777, 0640);
  return target_finish();
}
