// What few programs make with clone(2) and unshare(2): a thread with "descriptors" or a "directory" of its
// own, a child that ends with another "signal" than SIGCHLD. A checkpoint has to refuse them.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

enum { kOwnNumber = 77 };

static int what_to_unshare;
static pid_t apart;
static bool over;

static void* live_apart(void* unused) {
  target_require(unshare(what_to_unshare) == 0, "unshare");
  if (what_to_unshare == CLONE_FILES) target_require(dup2(0, kOwnNumber) == kOwnNumber, "dup2");
  if (what_to_unshare == CLONE_FS) target_require(chdir("/") == 0, "chdir");
  __atomic_store_n(&apart, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) target_sleep_ms(5);
  char here[512] = "";
  if (what_to_unshare == CLONE_FS) target_check_string("directory", getcwd(here, sizeof here), "/");
  if (what_to_unshare == CLONE_FILES) target_check_number("fcntl", fcntl(kOwnNumber, F_GETFD), 0);
  return unused;
}

static void end_child(pid_t child) {
  kill(child, SIGTERM);
  target_check_number("wait without __WCLONE", waitpid(child, NULL, WNOHANG), -1);
  target_check_number("wait", waitpid(child, NULL, (int)__WCLONE), child);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a kind");
  pthread_t thread;
  pid_t child = 0;
  if (strcmp(argv[1], "signal") == 0) {
    child = (pid_t)syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0);
    target_require(child >= 0, "clone");
    if (child == 0) {
      for (;;) pause();
    }
    signal(SIGUSR1, SIG_IGN);
  } else {
    what_to_unshare = strcmp(argv[1], "directory") == 0 ? CLONE_FS : CLONE_FILES;
    target_require(pthread_create(&thread, NULL, live_apart, NULL) == 0, "pthread_create");
    while (__atomic_load_n(&apart, __ATOMIC_ACQUIRE) == 0) target_sleep_ms(1);
  }
  printf("child %d\n", child != 0 ? child : apart);

  target_ready();
  target_wait(go_file);

  if (child != 0) {
    end_child(child);
  } else {
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    target_check_number("a descriptor of the other thread", fcntl(kOwnNumber, F_GETFD), -1);
  }
  return target_finish();
}
