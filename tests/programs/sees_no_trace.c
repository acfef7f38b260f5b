// Looks all the time for what a checkpoint might leave: descriptors, threads, mappings, children, signals and
// interrupted calls that are not its own.
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "target.h"

enum { kTextBytes = 256 * 1024 };

static char maps_before[kTextBytes];
static char maps_now[kTextBytes];
static volatile sig_atomic_t unexpected_signals;

static void note_signal(int signal) { unexpected_signals = signal; }

// Every signal that can be caught and is not used here.
static void watch_signals(void) {
  struct sigaction action = {.sa_handler = note_signal};
  for (int signal = 1; signal < SIGRTMAX; signal++) {
    if (signal == SIGKILL || signal == SIGSTOP || (signal > SIGSYS && signal < SIGRTMIN)) continue;
    sigaction(signal, &action, NULL);
  }
}

static int count_entries(const char* path) {
  DIR* directory = opendir(path);
  target_require(directory != NULL, path);
  int count = 0;
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count;
}

static void read_maps(char* text) {
  FILE* maps = fopen("/proc/self/maps", "re");
  target_require(maps != NULL, "/proc/self/maps");
  size_t size = fread(text, 1, kTextBytes - 1, maps);
  text[size] = '\0';
  fclose(maps);
}

static const char* go_file;
static int64_t call_count;

static void check_call(const char* name, long result, long expected) {
  if (result != expected) target_differs("%s returned %ld: %s", name, result, strerror(errno));
  __atomic_add_fetch(&call_count, 1, __ATOMIC_RELAXED);
}

// Calls that a stop could make return early, one way or another.
static void* make_calls(void* argument) {
  int epoll = *(int*)argument;
  sigset_t none;
  sigemptyset(&none);
  sigaddset(&none, SIGRTMIN + 7);
  struct epoll_event event;
  while (!target_told_to_go(go_file)) {
    struct timespec time = {0, 3000000};
    check_call("epoll_wait", epoll_wait(epoll, &event, 1, 3), 0);
    check_call("poll", poll(NULL, 0, 3), 0);
    check_call("nanosleep", nanosleep(&time, NULL), 0);
    errno = 0;
    int signal = sigtimedwait(&none, NULL, &time);
    if (signal >= 0 || errno != EAGAIN)
      target_differs("sigtimedwait returned %d: %s", signal, strerror(errno));
  }
  return NULL;
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  watch_signals();
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  target_require(epoll >= 0, "epoll_create1");
  pthread_t thread;
  target_require(pthread_create(&thread, NULL, make_calls, &epoll) == 0, "pthread_create");
  read_maps(maps_before);
  read_maps(maps_before);  // what reading them needs is there now
  int descriptors = count_entries("/proc/self/fd");
  int threads = count_entries("/proc/self/task");

  target_ready();
  while (!target_told_to_go(go_file) && target_differences == 0) {
    target_check_number("descriptors", count_entries("/proc/self/fd"), descriptors);
    target_check_number("threads", count_entries("/proc/self/task"), threads);
    read_maps(maps_now);
    target_check_string("memory map", maps_now, maps_before);
    target_check_number("waitpid", waitpid(-1, NULL, WNOHANG | __WALL), -1);
    target_check_number("why waitpid failed", errno, ECHILD);
    // A checkpoint that meets the open memory map is refused: leave room for others.
    target_sleep_ms(7);
    if (unexpected_signals != 0) target_differs("signal %d arrived", (int)unexpected_signals);
  }
  pthread_join(thread, NULL);
  printf("calls %lld\n", (long long)call_count);
  return target_finish();
}
