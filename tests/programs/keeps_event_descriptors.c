// eventfd, timerfd, signalfd and epoll descriptors keep their state, and epoll still watches what it watched.
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "target.h"

enum { kFarSeconds = 1000 };

struct Descriptors {
  int counter, semaphore, far_timer, repeating_timer, signals, epoll, watched[2];
};

static void set_up(struct Descriptors* all) {
  all->counter = eventfd(7, EFD_NONBLOCK);
  all->semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
  all->far_timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  all->repeating_timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  all->signals = signalfd(-1, &set, SFD_NONBLOCK);
  all->epoll = epoll_create1(EPOLL_CLOEXEC);
  target_require(all->counter >= 0 && all->semaphore >= 0 && all->far_timer >= 0 &&
                     all->repeating_timer >= 0 && all->signals >= 0 && all->epoll >= 0 &&
                     pipe2(all->watched, O_NONBLOCK) == 0,
                 "descriptors");
  struct itimerspec far = {{55, 0}, {kFarSeconds, 0}};
  struct itimerspec often = {{0, 20000000}, {0, 20000000}};
  timerfd_settime(all->far_timer, 0, &far, NULL);
  timerfd_settime(all->repeating_timer, 0, &often, NULL);
  struct epoll_event pipe_event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0};
  struct epoll_event edge_event = {.events = EPOLLIN | EPOLLET, .data.u64 = 2};
  target_require(epoll_ctl(all->epoll, EPOLL_CTL_ADD, all->watched[0], &pipe_event) == 0, "EPOLL_CTL_ADD");
  target_require(epoll_ctl(all->epoll, EPOLL_CTL_ADD, all->signals, &edge_event) == 0, "EPOLL_CTL_ADD");
}

static void check_eventfds(const struct Descriptors* all) {
  uint64_t value = 0;
  target_check_number("read of an eventfd", read(all->counter, &value, sizeof value), sizeof value);
  target_check_number("count of an eventfd", (long long)value, 7);
  for (int i = 0; i < 3; i++) {
    target_check_number("read of a semaphore", read(all->semaphore, &value, sizeof value), sizeof value);
    target_check_number("what a semaphore gives", (long long)value, 1);
  }
  target_check_number("read of a semaphore at 0", read(all->semaphore, &value, sizeof value), -1);
  target_check_number("close-on-exec of the semaphore", fcntl(all->semaphore, F_GETFD), FD_CLOEXEC);
}

static void check_timers(const struct Descriptors* all, int64_t set_ns) {
  struct itimerspec now;
  target_check_number("timerfd_gettime", timerfd_gettime(all->far_timer, &now), 0);
  int64_t away_s = (target_now_ns(CLOCK_MONOTONIC) - set_ns) / 1000000000;
  if (now.it_value.tv_sec > kFarSeconds || now.it_value.tv_sec < kFarSeconds - away_s - 2) {
    target_differs("far timer: %ld s left of %d s after %ld s", (long)now.it_value.tv_sec, kFarSeconds,
                   (long)away_s);
  }
  target_check_number("interval of the far timer", now.it_interval.tv_sec, 55);
  uint64_t expiries = 0;
  target_check_number("read of a far timer", read(all->far_timer, &expiries, sizeof expiries), -1);
  int64_t lived_ns = target_now_ns(CLOCK_MONOTONIC) - set_ns;
  target_check_number("read of a timer", read(all->repeating_timer, &expiries, sizeof expiries),
                      sizeof expiries);
  if (expiries == 0 || (int64_t)expiries > lived_ns / 20000000 + 2) {
    target_differs("repeating timer expired %llu times in %.3f s", (unsigned long long)expiries,
                   (double)lived_ns / 1e9);
  }
  target_check_number("next read of a timer", read(all->repeating_timer, &expiries, sizeof expiries),
                      sizeof expiries);
}

static void check_signals_and_epoll(const struct Descriptors* all) {
  struct epoll_event events[4];
  target_check_number("events when nothing happens", epoll_wait(all->epoll, events, 4, 0), 0);
  union sigval value = {.sival_int = 99};
  sigqueue(getpid(), SIGRTMIN + 1, value);
  target_check_number("events after a signal", epoll_wait(all->epoll, events, 4, 0), 1);
  target_check_number("data of that event", (long long)events[0].data.u64, 2);
  target_check_number("edge-triggered event again", epoll_wait(all->epoll, events, 4, 0), 0);
  struct signalfd_siginfo info;
  target_check_number("read of a signalfd", read(all->signals, &info, sizeof info), sizeof info);
  target_check_number("value of the signal", info.ssi_int, 99);
  target_check_number("write", write(all->watched[1], "x", 1), 1);
  for (int i = 0; i < 2; i++) {
    target_check_number("level-triggered event", epoll_wait(all->epoll, events, 4, 0), 1);
    target_check_number("data of that event", (long long)events[0].data.u64, 0x123456789abcdef0);
  }
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  struct Descriptors all;
  set_up(&all);
  int64_t set_ns = target_now_ns(CLOCK_MONOTONIC);

  target_ready();
  target_wait(go_file);

  check_eventfds(&all);
  check_timers(&all, set_ns);
  check_signals_and_epoll(&all);
  return target_finish();
}
