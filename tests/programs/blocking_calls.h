// Blocking system calls, each made so that it ends after `call_seconds` with a known result: by its own
// timeout, by a timer, or by a helper thread that sleeps that long. Raw calls: what libc would repeat by
// itself must not hide here.
//
// A call runs in a thread of its own; nothing here touches other threads' signals or descriptors, so all may
// run at once. `wait4` needs a child process and is therefore apart.
#pragma once

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "support/ring_call.h"
#include "target.h"

static long call_seconds = 1;

// --- times and helpers
// ---------------------------------------------------------------------------------------

static inline struct timespec call_timeout(void) { return (struct timespec){call_seconds, 0}; }

static inline struct timespec call_deadline(clockid_t clock) {
  struct timespec at;
  clock_gettime(clock, &at);
  at.tv_sec += call_seconds;
  return at;
}

// Does one thing after `call_seconds`, in a thread of its own.
struct Waker {
  pthread_t thread;
  void (*act)(int descriptor);
  int descriptor;
};

static inline void* waker_run(void* argument) {
  struct Waker* waker = (struct Waker*)argument;
  target_sleep_ms(call_seconds * 1000);
  waker->act(waker->descriptor);
  return NULL;
}

static inline void waker_start(struct Waker* waker, void (*act)(int), int descriptor) {
  waker->act = act;
  waker->descriptor = descriptor;
  target_require(pthread_create(&waker->thread, NULL, waker_run, waker) == 0, "pthread_create");
}

static inline long waker_end(struct Waker* waker, long result) {
  int error = errno;
  pthread_join(waker->thread, NULL);
  errno = error;
  return result;
}

static inline void write_one_byte(int descriptor) {
  if (write(descriptor, "x", 1) != 1) target_differs("write to wake a call: %s", strerror(errno));
}

static inline int silent_pipe(void) {
  int ends[2];
  target_require(pipe2(ends, O_CLOEXEC) == 0, "pipe2");
  return ends[0];
}

static inline void ignore_signal(int signal) { (void)signal; }

// A timer that sends `signal` to this thread only.
static inline timer_t start_own_timer(int signal) {
  struct sigaction action = {.sa_handler = ignore_signal};
  sigaction(signal, &action, NULL);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
  event._sigev_un._tid = gettid();
  timer_t timer;
  target_require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create");
  struct itimerspec when = {.it_value = call_timeout()};
  target_require(timer_settime(timer, 0, &when, NULL) == 0, "timer_settime");
  return timer;
}

// In the current directory.
static inline int open_scratch_file(const char* name) {
  int descriptor = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  target_require(descriptor >= 0, name);
  return descriptor;
}

static inline void open_two_scratch_files(const char* name, int* first, int* second) {
  *first = open_scratch_file(name);
  *second = open_scratch_file(name);
  unlink(name);
}

// --- sleeping
// ------------------------------------------------------------------------------------------------

static inline long call_nanosleep(void) {
  struct timespec left = call_timeout();
  return syscall(SYS_nanosleep, &left, &left);
}

static inline long call_clock_nanosleep_rel(void) {
  struct timespec left = call_timeout();
  return syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &left, &left);
}

static inline long call_clock_nanosleep_abs(void) {
  struct timespec at = call_deadline(CLOCK_MONOTONIC);
  return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

// --- polling
// -------------------------------------------------------------------------------------------------

static inline long call_poll(void) {
  struct pollfd end = {silent_pipe(), POLLIN, 0};
  return syscall(SYS_poll, &end, 1, call_seconds * 1000);
}

static inline long call_ppoll(void) {
  struct pollfd end = {silent_pipe(), POLLIN, 0};
  struct timespec left = call_timeout();
  return syscall(SYS_ppoll, &end, 1, &left, NULL, 8);
}

static inline long call_select(void) {
  fd_set ends;
  FD_ZERO(&ends);
  int end = silent_pipe();
  FD_SET(end, &ends);
  struct timeval left = {call_seconds, 0};
  return syscall(SYS_select, end + 1, &ends, NULL, NULL, &left);
}

static inline long call_pselect(void) {
  fd_set ends;
  FD_ZERO(&ends);
  int end = silent_pipe();
  FD_SET(end, &ends);
  struct timespec left = call_timeout();
  return syscall(SYS_pselect6, end + 1, &ends, NULL, NULL, &left, NULL);
}

static inline int epoll_on(int descriptor) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  target_require(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0, "epoll");
  return epoll;
}

static inline int armed_timerfd(void) {
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  struct itimerspec when = {.it_value = call_timeout()};
  target_require(timer >= 0 && timerfd_settime(timer, 0, &when, NULL) == 0, "timerfd");
  return timer;
}

static inline long call_epoll_wait(void) {
  struct epoll_event event;
  return syscall(SYS_epoll_wait, epoll_on(silent_pipe()), &event, 1, call_seconds * 1000);
}

static inline long call_epoll_wait_without_timeout(void) {
  struct epoll_event event;
  return syscall(SYS_epoll_wait, epoll_on(armed_timerfd()), &event, 1, -1);
}

static inline long call_epoll_pwait(void) {
  struct epoll_event event;
  sigset_t none;
  sigemptyset(&none);
  return syscall(SYS_epoll_pwait, epoll_on(silent_pipe()), &event, 1, call_seconds * 1000, &none, 8);
}

static inline long call_epoll_pwait2(void) {
  struct epoll_event event;
  struct timespec left = call_timeout();
  return syscall(SYS_epoll_pwait2, epoll_on(silent_pipe()), &event, 1, &left, NULL, 8);
}

// --- futexes
// -------------------------------------------------------------------------------------------------

static inline long call_futex_rel(void) {
  uint32_t word = 0;
  struct timespec left = call_timeout();
  return syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &left, NULL, 0);
}

static inline long call_futex_abs(void) {
  uint32_t word = 0;
  struct timespec at = call_deadline(CLOCK_MONOTONIC);
  return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, &at, NULL,
                 FUTEX_BITSET_MATCH_ANY);
}

static inline long call_futex_abs_realtime(void) {
  uint32_t word = 0;
  struct timespec at = call_deadline(CLOCK_REALTIME);
  return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, 0, &at,
                 NULL, FUTEX_BITSET_MATCH_ANY);
}

static inline long call_futex_waitv(void) {
  uint32_t word = 0;
  struct futex_waitv wait = {.val = 0, .uaddr = (uintptr_t)&word, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG};
  struct timespec at = call_deadline(CLOCK_MONOTONIC);
  return syscall(SYS_futex_waitv, &wait, 1, 0, &at, CLOCK_MONOTONIC);
}

// Locked by a thread that outlives the wait by far.
struct PiOwner {
  uint32_t word;
  pthread_barrier_t locked;
  int release;
};

static inline void* own_pi_futex(void* argument) {
  struct PiOwner* owner = (struct PiOwner*)argument;
  target_require(syscall(SYS_futex, &owner->word, FUTEX_LOCK_PI, 0, NULL, NULL, 0) == 0, "FUTEX_LOCK_PI");
  pthread_barrier_wait(&owner->locked);
  while (__atomic_load_n(&owner->release, __ATOMIC_SEQ_CST) == 0) target_sleep_ms(10);
  syscall(SYS_futex, &owner->word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0);
  return NULL;
}

static inline long call_futex_lock_pi(void) {
  struct PiOwner owner = {0};
  pthread_t thread;
  pthread_barrier_init(&owner.locked, NULL, 2);
  target_require(pthread_create(&thread, NULL, own_pi_futex, &owner) == 0, "pthread_create");
  pthread_barrier_wait(&owner.locked);
  struct timespec at = call_deadline(CLOCK_REALTIME);
  long result = syscall(SYS_futex, &owner.word, FUTEX_LOCK_PI, 0, &at, NULL, 0);
  int error = errno;
  __atomic_store_n(&owner.release, 1, __ATOMIC_SEQ_CST);
  pthread_join(thread, NULL);
  errno = error;
  return result;
}

// --- signals
// -------------------------------------------------------------------------------------------------

static inline long call_sigtimedwait(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  struct timespec left = call_timeout();
  return syscall(SYS_rt_sigtimedwait, &set, NULL, &left, 8);
}

static inline long ended_by_timer(timer_t timer, long result) {
  int error = errno;
  timer_delete(timer);
  errno = error;
  return result;
}

static inline long call_sigsuspend(void) {
  sigset_t none;
  sigemptyset(&none);
  timer_t timer = start_own_timer(SIGRTMIN + 5);
  return ended_by_timer(timer, syscall(SYS_rt_sigsuspend, &none, 8));
}

static inline long call_pause(void) {
  timer_t timer = start_own_timer(SIGRTMIN + 6);
  return ended_by_timer(timer, syscall(SYS_pause));
}

// --- System V and POSIX IPC
// ----------------------------------------------------------------------------------

static inline long call_semtimedop(void) {
  int id = semget(IPC_PRIVATE, 1, 0600);
  target_require(id >= 0, "semget");
  struct sembuf down = {0, -1, 0};
  struct timespec left = call_timeout();
  long result = syscall(SYS_semtimedop, id, &down, 1, &left);
  int error = errno;
  semctl(id, 0, IPC_RMID);
  errno = error;
  return result;
}

static inline void raise_semaphore(int id) {
  struct sembuf up = {0, 1, 0};
  if (semop(id, &up, 1) != 0) target_differs("semop: %s", strerror(errno));
}

static inline long call_semop(void) {
  int id = semget(IPC_PRIVATE, 1, 0600);
  target_require(id >= 0, "semget");
  struct Waker waker;
  waker_start(&waker, raise_semaphore, id);
  struct sembuf down = {0, -1, 0};
  long result = waker_end(&waker, syscall(SYS_semop, id, &down, 1));
  int error = errno;
  semctl(id, 0, IPC_RMID);
  errno = error;
  return result;
}

struct CallMessage {
  long type;
  char text[8];
};

static inline void send_message(int id) {
  struct CallMessage message = {1, "1234567"};
  if (msgsnd(id, &message, sizeof message.text, 0) != 0) target_differs("msgsnd: %s", strerror(errno));
}

static inline long call_msgrcv(void) {
  int id = msgget(IPC_PRIVATE, 0600);
  target_require(id >= 0, "msgget");
  struct Waker waker;
  waker_start(&waker, send_message, id);
  struct CallMessage message;
  long result = waker_end(&waker, syscall(SYS_msgrcv, id, &message, sizeof message.text, 0, 0));
  int error = errno;
  msgctl(id, IPC_RMID, NULL);
  errno = error;
  return result;
}

static inline long call_mq_timedreceive(void) {
  struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
  char name[64];
  snprintf(name, sizeof name, "/target.%d", getpid());
  mqd_t queue = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
  target_require(queue >= 0, "mq_open");
  mq_unlink(name);
  char message[8];
  struct timespec at = call_deadline(CLOCK_REALTIME);
  return syscall(SYS_mq_timedreceive, queue, message, sizeof message, NULL, &at);
}

// --- reading
// -------------------------------------------------------------------------------------------------

static inline long call_pipe_read(void) {
  int ends[2];
  target_require(pipe2(ends, O_CLOEXEC) == 0, "pipe2");
  struct Waker waker;
  waker_start(&waker, write_one_byte, ends[1]);
  char byte;
  return waker_end(&waker, syscall(SYS_read, ends[0], &byte, 1));
}

static inline void raise_eventfd(int descriptor) {
  if (eventfd_write(descriptor, 1) != 0) target_differs("eventfd_write: %s", strerror(errno));
}

static inline long call_eventfd_read(void) {
  int descriptor = eventfd(0, EFD_CLOEXEC);
  target_require(descriptor >= 0, "eventfd");
  struct Waker waker;
  waker_start(&waker, raise_eventfd, descriptor);
  uint64_t count;
  return waker_end(&waker, syscall(SYS_read, descriptor, &count, sizeof count));
}

static inline long call_timerfd_read(void) {
  uint64_t count;
  return syscall(SYS_read, armed_timerfd(), &count, sizeof count);
}

static inline void touch_watched_file(int unused) {
  (void)unused;
  close(open_scratch_file("target-inotify"));
}

static inline long call_inotify_read(void) {
  const char* watched = "target-inotify";
  close(open_scratch_file(watched));
  int descriptor = inotify_init1(IN_CLOEXEC);
  target_require(descriptor >= 0 && inotify_add_watch(descriptor, watched, IN_OPEN) >= 0, "inotify");
  struct Waker waker;
  waker_start(&waker, touch_watched_file, 0);
  struct inotify_event event;
  long result = waker_end(&waker, syscall(SYS_read, descriptor, &event, sizeof event));
  int error = errno;
  unlink(watched);
  errno = error;
  return result;
}

static inline long call_io_getevents(void) {
  aio_context_t context = 0;
  target_require(syscall(SYS_io_setup, 1, &context) == 0, "io_setup");
  struct io_event event;
  struct timespec left = call_timeout();
  long result = syscall(SYS_io_getevents, context, 1, 1, &event, &left);
  int error = errno;
  syscall(SYS_io_destroy, context);
  errno = error;
  return result;
}

static inline long call_io_uring_enter(void) {
  struct io_uring_params parameters = {0};
  long ring = ring_call(SYS_io_uring_setup, 4, (intptr_t)&parameters, NULL, 0);
  target_require(ring >= 0, "io_uring_setup");
  struct __kernel_timespec left = {call_seconds, 0};
  struct io_uring_getevents_arg argument = {.ts = (uintptr_t)&left};
  return syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                 sizeof argument);
}

// --- sockets
// -------------------------------------------------------------------------------------------------

static inline void set_receive_timeout(int descriptor) {
  struct timeval timeout = {call_seconds, 0};
  target_require(setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0,
                 "SO_RCVTIMEO");
}

static inline long call_recv(void) {
  int ends[2];
  target_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  struct Waker waker;
  waker_start(&waker, write_one_byte, ends[1]);
  char byte;
  return waker_end(&waker, syscall(SYS_recvfrom, ends[0], &byte, 1, 0, NULL, NULL));
}

static inline long call_recv_with_timeout(void) {
  int ends[2];
  target_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  set_receive_timeout(ends[0]);
  char byte;
  return syscall(SYS_recvfrom, ends[0], &byte, 1, 0, NULL, NULL);
}

static inline long call_accept_with_timeout(void) {
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  target_require(descriptor >= 0 && listen(descriptor, 1) == 0, "listen");
  set_receive_timeout(descriptor);
  return syscall(SYS_accept4, descriptor, NULL, NULL, 0);
}

static inline long call_recvmmsg(void) {
  int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in any = {.sin_family = AF_INET};
  target_require(descriptor >= 0 && bind(descriptor, (struct sockaddr*)&any, sizeof any) == 0, "bind");
  set_receive_timeout(descriptor);
  char text[8];
  struct iovec part = {text, sizeof text};
  struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
  struct timespec left = call_timeout();
  return syscall(SYS_recvmmsg, descriptor, &message, 1, 0, &left);
}

// --- locks and children
// --------------------------------------------------------------------------------------

static inline void unlock_flock(int descriptor) { flock(descriptor, LOCK_UN); }

static inline long call_flock(void) {
  int holder;
  int waiter;
  open_two_scratch_files("target-flock", &holder, &waiter);
  target_require(flock(holder, LOCK_EX) == 0, "flock");
  struct Waker waker;
  waker_start(&waker, unlock_flock, holder);
  return waker_end(&waker, syscall(SYS_flock, waiter, LOCK_EX));
}

static inline void unlock_record(int descriptor) {
  struct flock lock = {.l_type = F_UNLCK};
  fcntl(descriptor, F_OFD_SETLK, &lock);
}

// Locks of the open file description: those of the process would not make one thread wait for another.
static inline long call_record_lock(void) {
  int holder;
  int waiter;
  open_two_scratch_files("target-lock", &holder, &waiter);
  struct flock lock = {.l_type = F_WRLCK};
  target_require(fcntl(holder, F_OFD_SETLK, &lock) == 0, "F_OFD_SETLK");
  struct Waker waker;
  waker_start(&waker, unlock_record, holder);
  return waker_end(&waker, syscall(SYS_fcntl, waiter, F_OFD_SETLKW, &lock));
}

static inline long call_wait4(void) {
  pid_t child = fork();
  if (child == 0) {
    target_sleep_ms(call_seconds * 1000);
    _exit(0);
  }
  return syscall(SYS_wait4, child, NULL, 0, NULL) == child ? 0 : -1;
}

// --- the table
// -----------------------------------------------------------------------------------------------

struct BlockingCall {
  const char* name;
  const char* family;  // "other": holds what a checkpoint may refuse
  long (*make)(void);
  long result;
  int error;
};

static const struct BlockingCall blocking_calls[] = {
    {"nanosleep", "sleep", call_nanosleep, 0, 0},
    {"clock_nanosleep relative", "sleep", call_clock_nanosleep_rel, 0, 0},
    {"clock_nanosleep absolute", "sleep", call_clock_nanosleep_abs, 0, 0},
    {"poll", "poll", call_poll, 0, 0},
    {"ppoll", "poll", call_ppoll, 0, 0},
    {"select", "poll", call_select, 0, 0},
    {"pselect6", "poll", call_pselect, 0, 0},
    {"epoll_wait", "epoll", call_epoll_wait, 0, 0},
    {"epoll_wait without timeout", "epoll", call_epoll_wait_without_timeout, 1, 0},
    {"epoll_pwait", "epoll", call_epoll_pwait, 0, 0},
    {"epoll_pwait2", "epoll", call_epoll_pwait2, 0, 0},
    {"futex relative", "futex", call_futex_rel, -1, ETIMEDOUT},
    {"futex absolute", "futex", call_futex_abs, -1, ETIMEDOUT},
    {"futex absolute, real time", "futex", call_futex_abs_realtime, -1, ETIMEDOUT},
    {"futex_waitv", "futex", call_futex_waitv, -1, ETIMEDOUT},
    {"futex lock_pi", "futex", call_futex_lock_pi, -1, ETIMEDOUT},
    {"sigtimedwait", "signal", call_sigtimedwait, -1, EAGAIN},
    {"sigsuspend", "signal", call_sigsuspend, -1, EINTR},
    {"pause", "signal", call_pause, -1, EINTR},
    {"semtimedop", "ipc", call_semtimedop, -1, EAGAIN},
    {"semop", "ipc", call_semop, 0, 0},
    {"msgrcv", "ipc", call_msgrcv, sizeof(((struct CallMessage*)NULL)->text), 0},
    {"read of a pipe", "read", call_pipe_read, 1, 0},
    {"read of an eventfd", "read", call_eventfd_read, 8, 0},
    {"read of a timerfd", "read", call_timerfd_read, 8, 0},
    {"read of inotify", "other", call_inotify_read, sizeof(struct inotify_event), 0},
    {"mq_timedreceive", "other", call_mq_timedreceive, -1, ETIMEDOUT},
    {"io_getevents", "other", call_io_getevents, 0, 0},
    {"io_uring_enter", "other", call_io_uring_enter, -1, ETIME},
    {"recv", "other", call_recv, 1, 0},
    {"recv with SO_RCVTIMEO", "other", call_recv_with_timeout, -1, EAGAIN},
    {"accept with SO_RCVTIMEO", "other", call_accept_with_timeout, -1, EAGAIN},
    {"recvmmsg with timeout", "other", call_recvmmsg, -1, EAGAIN},
    {"flock", "other", call_flock, 0, 0},
    {"F_OFD_SETLKW", "other", call_record_lock, 0, 0},
    {"wait4", "child", call_wait4, 0, 0},
};
enum { kBlockingCalls = sizeof blocking_calls / sizeof *blocking_calls };
