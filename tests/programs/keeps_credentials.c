// Users, groups, capabilities and securebits of every thread are as the program set them, if it is root's; an
// ordinary user's are what they were, but for the one securebit that anybody may set. What it has become:
//   user    another user, as servers do, with threads that were made before
//   mixed   another one for files only, with some capabilities left, and a rule for those of its programs
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "target.h"

enum { kThreads = 3, kTextBytes = 8192, kOther = 65534, kGroup = 4711 };

static struct Credentials {
  char status[kTextBytes];
  int securebits, death_signal;
} before[kThreads], after[kThreads];

static int checking;

static void read_credentials(struct Credentials* all) {
  static const char* const kKeys[] = {"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapAmb:"};
  FILE* status = fopen("/proc/thread-self/status", "re");
  target_require(status != NULL, "/proc/thread-self/status");
  char line[2048];
  all->status[0] = '\0';
  while (fgets(line, sizeof line, status) != NULL) {
    for (size_t i = 0; i < sizeof kKeys / sizeof *kKeys; i++) {
      if (strncmp(line, kKeys[i], strlen(kKeys[i])) == 0 && strlen(all->status) + strlen(line) < kTextBytes)
        strcat(all->status, line);
    }
  }
  fclose(status);
  all->securebits = prctl(PR_GET_SECUREBITS);
  prctl(PR_GET_PDEATHSIG, &all->death_signal);
}

static void* stay(void* argument) {
  size_t i = (size_t)argument;
  prctl(PR_SET_PDEATHSIG, SIGURG);
  while (__atomic_load_n(&checking, __ATOMIC_SEQ_CST) == 0) target_sleep_ms(5);
  read_credentials(&before[i]);
  while (__atomic_load_n(&checking, __ATOMIC_SEQ_CST) == 1) target_sleep_ms(5);
  read_credentials(&after[i]);
  return NULL;
}

static void become_user(void) {
  gid_t group = kGroup;
  target_require(setgroups(1, &group) == 0, "setgroups");
  target_require(setresgid(kOther, kOther, kOther) == 0, "setresgid");
  target_require(setresuid(kOther, kOther, kOther) == 0, "setresuid");
}

static void become_mixed(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{0}};
  target_require(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0) == 0, "PR_CAPBSET_DROP");
  target_require(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT) == 0, "PR_SET_SECUREBITS");
  target_require(setresuid(0, kOther, 0) == 0, "setresuid");
  uint32_t kept = 1U << CAP_NET_BIND_SERVICE | 1U << CAP_CHOWN;
  data[0].permitted = data[0].inheritable = kept;
  data[0].effective = 1U << CAP_CHOWN;
  target_require(syscall(SYS_capset, &header, data) == 0, "capset");
  target_require(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0, "ambient");
}

int main(int argc, char** argv) {
  // In the directory that it is in, since others it may no longer reach.
  const char* go_file = strrchr(target_go_file(argc, argv), '/') + 1;
  target_require(argc == 3, "needs to know what to become");
  bool root = geteuid() == 0;
  bool mixed = strcmp(argv[1], "mixed") == 0;
  if (!root) target_require(prctl(PR_SET_KEEPCAPS, 1) == 0, "PR_SET_KEEPCAPS");
  if (root && mixed) become_mixed();  // capabilities are a thread's own
  pthread_t threads[kThreads];
  for (size_t i = 0; i < kThreads; i++)
    target_require(pthread_create(&threads[i], NULL, stay, (void*)i) == 0, "pthread_create");
  if (root && !mixed) become_user();
  prctl(PR_SET_DUMPABLE, 1);
  __atomic_store_n(&checking, 1, __ATOMIC_SEQ_CST);
  for (size_t i = 0; i < kThreads; i++) {
    while (((volatile struct Credentials*)&before[i])->status[0] == '\0') target_sleep_ms(1);
  }
  target_sleep_ms(20);

  target_ready();
  target_wait(go_file);

  __atomic_store_n(&checking, 2, __ATOMIC_SEQ_CST);
  for (size_t i = 0; i < kThreads; i++) {
    pthread_join(threads[i], NULL);
    target_check_string("credentials", after[i].status, before[i].status);
    target_check_number("securebits", after[i].securebits, before[i].securebits);
    target_check_number("parent-death signal", after[i].death_signal, before[i].death_signal);
  }
  return target_finish();
}
