// Children keep their ids, parents, groups and sessions, what they share with each other, and what is to be
// learned of those that have ended or stopped.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "target.h"

enum { kPlain, kLeader, kFollower, kSessionLeader, kInSession, kOrphan, kStopped, kMembers };
enum { kExitStatus = 37, kWritten = 3000 };

static const char* const kNames[kMembers] = {
    "plain child", "group leader", "follower in that group", "session leader", "member of that session",
    "orphan",      "stopped child"};

struct Ids {
  pid_t pid, parent, group, session;
};

// Shared by all, as memory that fork hands down.
struct Shared {
  struct Ids now[kMembers];
  struct Ids before[kMembers];
  pid_t pids[kMembers];
  int asked[kMembers];
  int answered[kMembers];
  long counter;
};

static struct Shared* shared;
static int lifeline[2];  // closed when the program ends

static struct Ids own_ids(void) {
  struct Ids ids = {getpid(), getppid(), getpgrp(), getsid(0)};
  return ids;
}

static void leave_if_alone(void) {
  char byte;
  if (read(lifeline[0], &byte, 1) == 0) _exit(0);
}

static void serve(int member) {
  close(lifeline[1]);
  fcntl(lifeline[0], F_SETFL, O_NONBLOCK);
  shared->pids[member] = getpid();
  for (;;) {
    if (__atomic_load_n(&shared->asked[member], __ATOMIC_ACQUIRE) != shared->answered[member]) {
      shared->now[member] = own_ids();
      __atomic_add_fetch(&shared->counter, 1, __ATOMIC_RELAXED);
      __atomic_add_fetch(&shared->answered[member], 1, __ATOMIC_RELEASE);
    }
    leave_if_alone();
    target_sleep_ms(5);
  }
}

static pid_t make(int member, void (*prepare)(void)) {
  pid_t pid = fork();
  target_require(pid >= 0, "fork");
  if (pid != 0) return pid;
  if (prepare != NULL) prepare();
  serve(member);
  _exit(0);
}

static void lead_group(void) { setpgid(0, 0); }
static void lead_session(void) {
  setsid();
  make(kInSession, NULL);
}
static void die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static void ask(int member) {
  int answered = __atomic_load_n(&shared->answered[member], __ATOMIC_ACQUIRE);
  __atomic_add_fetch(&shared->asked[member], 1, __ATOMIC_RELEASE);
  while (__atomic_load_n(&shared->answered[member], __ATOMIC_ACQUIRE) == answered) target_sleep_ms(1);
}

static void check_ids(int member) {
  const struct Ids* now = &shared->now[member];
  const struct Ids* before = &shared->before[member];
  char what[80];
  snprintf(what, sizeof what, "id of the %s", kNames[member]);
  target_check_number(what, now->pid, before->pid);
  snprintf(what, sizeof what, "parent of the %s", kNames[member]);
  if (member != kOrphan) target_check_number(what, now->parent, before->parent);
  bool own_group = before->group != shared->before[kPlain].group;
  snprintf(what, sizeof what, "group of the %s", kNames[member]);
  target_check_number(what, now->group, own_group ? before->group : getpgrp());
  bool own_session = before->session != shared->before[kPlain].session;
  snprintf(what, sizeof what, "session of the %s", kNames[member]);
  target_check_number(what, now->session, own_session ? before->session : getsid(0));
}

static void wait_until_ended(pid_t pid) {
  siginfo_t info;
  target_require(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0, "waitid");
}

static volatile sig_atomic_t news;
static void count_news(int signal) {
  (void)signal;
  ++news;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  target_require(shared != MAP_FAILED, "mmap");
  target_require(pipe(lifeline) == 0, "pipe");
  int data[2];
  int pair[2];
  target_require(pipe(data) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "pipe, socketpair");
  int file = open("shared_offset", O_RDWR | O_CREAT | O_TRUNC, 0600);
  target_require(file >= 0, "open");

  pid_t ended = fork();
  if (ended == 0) _exit(kExitStatus);
  pid_t killed = fork();
  if (killed == 0) {
    for (;;) pause();
  }
  kill(killed, SIGTERM);
  wait_until_ended(ended);
  wait_until_ended(killed);
  signal(SIGCHLD, count_news);

  pid_t writer = fork();
  if (writer == 0) {
    static char bytes[kWritten];
    memset(bytes, 'w', sizeof bytes);
    target_require(write(data[1], bytes, sizeof bytes) == sizeof bytes, "write");
    target_require(write(pair[1], "through the socket", 18) == 18, "write");
    target_require(write(file, "child ", 6) == 6, "write");
    _exit(0);
  }
  target_require(waitpid(writer, NULL, 0) == writer, "waitpid");

  make(kPlain, NULL);
  pid_t leader = make(kLeader, lead_group);
  while (getpgid(leader) != leader) target_sleep_ms(1);
  pid_t follower = make(kFollower, NULL);
  target_require(setpgid(follower, leader) == 0, "setpgid");
  make(kSessionLeader, lead_session);
  pid_t passing = fork();
  if (passing == 0) {
    make(kOrphan, NULL);
    _exit(0);
  }
  target_require(waitpid(passing, NULL, 0) == passing, "waitpid");
  pid_t stopped = make(kStopped, die_with_parent);
  pid_t doomed = fork();
  if (doomed == 0) {
    die_with_parent();
    for (;;) pause();
  }
  for (int i = 0; i < kMembers; ++i) {
    ask(i);
    shared->before[i] = shared->now[i];
  }
  kill(stopped, SIGSTOP);
  siginfo_t info;
  target_require(waitid(P_PID, (id_t)stopped, &info, WSTOPPED | WNOWAIT) == 0, "waitid for the stop");
  kill(doomed, SIGSTOP);
  target_require(waitid(P_PID, (id_t)doomed, &info, WSTOPPED) == 0, "waitid for the other stop");
  kill(doomed, SIGUSR1);  // takes effect when it is continued
  target_sleep_ms(50);
  news = 0;

  target_ready();
  target_wait(go_file);

  target_check_number("children that changed meanwhile", news, 0);
  target_check_number("status of the ended child", waitpid(ended, &info.si_status, WNOHANG), ended);
  target_check_number("its exit status", WEXITSTATUS(info.si_status), kExitStatus);
  int status = 0;
  target_check_number("the killed child", waitpid(killed, &status, WNOHANG), killed);
  target_check_number("its signal", WIFSIGNALED(status) ? WTERMSIG(status) : -1, SIGTERM);

  target_check_number("a stopped child with a fatal signal waiting",
                      waitpid(doomed, &status, WNOHANG | WUNTRACED), 0);
  kill(doomed, SIGCONT);
  target_check_number("when it is continued", waitpid(doomed, &status, 0), doomed);
  target_check_number("its signal", WIFSIGNALED(status) ? WTERMSIG(status) : -1, SIGUSR1);

  int asked = shared->answered[kStopped];
  __atomic_add_fetch(&shared->asked[kStopped], 1, __ATOMIC_RELEASE);
  target_sleep_ms(50);
  target_check_number("answers of the stopped child", shared->answered[kStopped], asked);
  kill(stopped, SIGCONT);
  while (__atomic_load_n(&shared->answered[kStopped], __ATOMIC_ACQUIRE) == asked) target_sleep_ms(1);
  for (int i = 0; i < kMembers; ++i) {
    ask(i);
    check_ids(i);
  }
  target_check_number("memory that all count in", shared->counter, 2 * kMembers + 1);

  static char got[kWritten];
  static char wanted[kWritten];
  memset(wanted, 'w', sizeof wanted);
  target_check_number("bytes in the pipe", read(data[0], got, sizeof got), kWritten);
  target_check_bytes("bytes in the pipe", got, wanted, sizeof wanted);
  memset(got, 0, sizeof got);
  target_check_number("bytes in the socket", read(pair[0], got, sizeof got), 18);
  target_check_string("bytes in the socket", got, "through the socket");
  target_check_number("offset that a child moved", lseek(file, 0, SEEK_CUR), 6);

  kill(shared->pids[kPlain], SIGKILL);
  target_check_number("a child that is killed now", waitpid(shared->pids[kPlain], &status, 0),
                      shared->pids[kPlain]);
  target_check_number("its signal", WIFSIGNALED(status) ? WTERMSIG(status) : -1, SIGKILL);
  close(lifeline[1]);
  int left = 0;
  while (wait(&status) > 0) ++left;
  target_check_number("children that ended well", left, 4);
  return target_finish();
}
