// Locks on files are still held, and signals about descriptors still come, to whom and as what they did.
// Takes the file to create before the go file.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

static struct {
  int record, description, whole, reader;
  int to_process[2], to_thread[2], to_group[2];
  pid_t thread;
  pthread_t waiting;
  int told;  // which descriptor
} all;

static struct flock range_lock(short type, off_t start, off_t length) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return lock;
}

static void lock_range(int fd, int command, short type, off_t start, off_t length) {
  struct flock lock = range_lock(type, start, length);
  target_require(fcntl(fd, command, &lock) == 0, "lock a range");
}

// With a mapping, so that the file has descriptors of ours while it is restored.
static void set_up_locks(const char* path) {
  all.record = open(path, O_CREAT | O_RDWR, 0600);
  all.description = open(path, O_RDWR);
  all.whole = open(path, O_RDONLY);
  all.reader = open(path, O_RDONLY);
  target_require(all.record >= 0 && all.description >= 0 && all.whole >= 0 && all.reader >= 0, path);
  lock_range(all.record, F_SETLK, F_WRLCK, 100, 50);
  lock_range(all.reader, F_SETLK, F_RDLCK, 200, 10);
  lock_range(all.record, F_SETLK, F_WRLCK, 1000, 0);
  lock_range(all.description, F_OFD_SETLK, F_WRLCK, 300, 7);
  target_require(flock(all.whole, LOCK_EX) == 0, "flock");
}

static short held_against_others(int fd, off_t start, pid_t* holder) {
  struct flock lock = range_lock(F_WRLCK, start, 1);
  if (fcntl(fd, F_GETLK, &lock) != 0) return -1;
  *holder = lock.l_pid;
  return lock.l_type;
}

static void expect_held(int fd, off_t start, short type, pid_t holder) {
  char what[64];
  pid_t is = 0;
  snprintf(what, sizeof what, "lock at byte %ld", (long)start);
  target_check_number(what, held_against_others(fd, start, &is), type);
  if (type != F_UNLCK) target_check_number(what, is, holder);
}

// Only another process sees what keeps it out.
static void check_from_outside(const char* path, pid_t holder) {
  int fd = open(path, O_RDWR);
  target_require(fd >= 0, path);
  expect_held(fd, 99, F_UNLCK, 0);
  expect_held(fd, 100, F_WRLCK, holder);
  expect_held(fd, 149, F_WRLCK, holder);
  expect_held(fd, 150, F_UNLCK, 0);
  expect_held(fd, 205, F_RDLCK, holder);
  expect_held(fd, 306, F_WRLCK, -1);
  expect_held(fd, 307, F_UNLCK, 0);
  expect_held(fd, 1000000, F_WRLCK, holder);
  target_check_number("flock", flock(fd, LOCK_SH | LOCK_NB), -1);
  fflush(stdout);
  _exit(target_differences == 0 ? 0 : 1);
}

static void check_locks(const char* path) {
  pid_t holder = getpid();
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) check_from_outside(path, holder);
  int status = 0;
  target_require(waitpid(child, &status, 0) == child, "waitpid");
  target_check_number("what another process finds", status, 0);
  target_check_number("another description's flock", flock(all.reader, LOCK_SH | LOCK_NB), -1);
  struct flock lock = range_lock(F_WRLCK, 300, 7);
  target_check_number("range of another description", fcntl(all.record, F_OFD_SETLK, &lock), -1);
  target_check_number("giving flock up", flock(all.whole, LOCK_UN), 0);
  target_check_number("flock that was given up", flock(all.reader, LOCK_SH | LOCK_NB), 0);
}

static void* wait_to_be_told(void* unused) {
  sigset_t set;
  siginfo_t info;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 2);
  __atomic_store_n(&all.thread, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
  while (sigwaitinfo(&set, &info) < 0) continue;
  __atomic_store_n(&all.told, info.si_fd, __ATOMIC_SEQ_CST);
  return unused;
}

static void announce(int ends[2], int type, pid_t owner, int signal) {
  struct f_owner_ex whom = {.type = type, .pid = owner};
  target_require(pipe2(ends, O_NONBLOCK) == 0 && fcntl(ends[0], F_SETOWN_EX, &whom) == 0 &&
                     fcntl(ends[0], F_SETSIG, signal) == 0 &&
                     fcntl(ends[0], F_SETFL, O_NONBLOCK | O_ASYNC) == 0,
                 "announce");
}

static void set_up_owners(void) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 1; i <= 3; i++) sigaddset(&set, SIGRTMIN + i);
  sigprocmask(SIG_BLOCK, &set, NULL);
  target_require(pthread_create(&all.waiting, NULL, wait_to_be_told, NULL) == 0, "pthread_create");
  while (__atomic_load_n(&all.thread, __ATOMIC_SEQ_CST) == 0) target_sleep_ms(1);
  announce(all.to_process, F_OWNER_PID, getpid(), SIGRTMIN + 1);
  announce(all.to_thread, F_OWNER_TID, all.thread, SIGRTMIN + 2);
  announce(all.to_group, F_OWNER_PGRP, getpgrp(), SIGRTMIN + 3);
}

static void check_owner(const char* what, const int ends[2], int type, pid_t owner, int signal) {
  struct f_owner_ex whom = {0};
  target_check_number(what, fcntl(ends[0], F_GETOWN_EX, &whom), 0);
  target_check_number(what, whom.type, type);
  target_check_number(what, whom.pid, owner);
  target_check_number(what, fcntl(ends[0], F_GETSIG), signal);
  target_check_number(what, fcntl(ends[0], F_GETFL) & (O_ASYNC | O_NONBLOCK), O_ASYNC | O_NONBLOCK);
  target_check_number(what, write(ends[1], "x", 1), 1);
}

static void check_signal(const char* what, const int ends[2], int signal) {
  sigset_t set;
  siginfo_t info = {0};
  struct timespec none = {0, 0};
  sigemptyset(&set);
  sigaddset(&set, signal);
  target_check_number(what, sigtimedwait(&set, &info, &none), signal);
  target_check_number(what, info.si_fd, ends[0]);
  target_check_number(what, sigtimedwait(&set, &info, &none), -1);
}

static void check_owners(void) {
  check_owner("owner process", all.to_process, F_OWNER_PID, getpid(), SIGRTMIN + 1);
  check_owner("owner group", all.to_group, F_OWNER_PGRP, getpgrp(), SIGRTMIN + 3);
  check_signal("signal to the process", all.to_process, SIGRTMIN + 1);
  check_signal("signal to the group", all.to_group, SIGRTMIN + 3);
  check_owner("owner thread", all.to_thread, F_OWNER_TID, all.thread, SIGRTMIN + 2);
  target_check_number("end of the thread", pthread_join(all.waiting, NULL), 0);
  target_check_number("what the thread was told of", all.told, all.to_thread[0]);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a file");
  setpgid(0, 0);
  set_up_locks(argv[1]);
  set_up_owners();

  target_ready();
  target_wait(go_file);

  check_locks(argv[1]);
  check_owners();
  return target_finish();
}
