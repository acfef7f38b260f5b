// Working directory, umask, limits, personality, dumpable and the like are as the program set them.
// Takes a directory to create and work in before the go file.
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "target.h"

enum { kTextBytes = 8192, kLimits = RLIM_NLIMITS };

struct Attributes {
  char directory[512];
  mode_t mask;
  struct rlimit limits[kLimits];
  int personality, dumpable, no_new_privileges, death_signal, subreaper, thp_disabled, keep_capabilities;
  int oom_score_adj, deny_write_execute, store_bypass, indirect_branch;
  unsigned coredump_filter;
  char name[32];
  char credentials[kTextBytes];
  char bounding_set[64];
  char user_namespace[128];
};

static struct Attributes before;
static struct Attributes after;

static void read_credentials(char* text) {
  static const char* const kKeys[] = {"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapAmb:"};
  FILE* status = fopen("/proc/self/status", "re");
  target_require(status != NULL, "/proc/self/status");
  char line[2048];
  text[0] = '\0';
  while (fgets(line, sizeof line, status) != NULL) {
    for (size_t i = 0; i < sizeof kKeys / sizeof *kKeys; i++) {
      if (strncmp(line, kKeys[i], strlen(kKeys[i])) == 0 && strlen(text) + strlen(line) < kTextBytes) {
        strcat(text, line);
      }
    }
  }
  fclose(status);
}

// The bounding set belongs to a user namespace; in one of its own the program may have more.
static void read_bounding_set(char set[64]) {
  FILE* status = fopen("/proc/self/status", "re");
  target_require(status != NULL, "/proc/self/status");
  char line[2048];
  while (fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, "CapBnd:", 7) == 0) sscanf(line + 7, "%63s", set);
  }
  fclose(status);
}

static int read_oom_score_adj(void) {
  FILE* file = fopen("/proc/self/oom_score_adj", "re");
  int value = -1;
  target_require(file != NULL && fscanf(file, "%d", &value) == 1, "/proc/self/oom_score_adj");
  fclose(file);
  return value;
}

// linux/prctl.h, since Linux 6.3
enum { kSetMdwe = 65, kGetMdwe = 66 };

static unsigned read_coredump_filter(void) {
  FILE* file = fopen("/proc/self/coredump_filter", "re");
  unsigned value = 0;
  target_require(file != NULL && fscanf(file, "%x", &value) == 1, "/proc/self/coredump_filter");
  fclose(file);
  return value;
}

static void write_coredump_filter(unsigned value) {
  FILE* file = fopen("/proc/self/coredump_filter", "we");
  target_require(file != NULL && fprintf(file, "%#x", value) > 0 && fclose(file) == 0, "coredump_filter");
}

static void read_attributes(struct Attributes* all) {
  target_require(getcwd(all->directory, sizeof all->directory) != NULL, "getcwd");
  all->mask = umask(0);
  umask(all->mask);
  for (unsigned i = 0; i < kLimits; i++) getrlimit((__rlimit_resource_t)i, &all->limits[i]);
  all->personality = personality(0xffffffff);
  all->dumpable = prctl(PR_GET_DUMPABLE);
  all->no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  prctl(PR_GET_PDEATHSIG, &all->death_signal);
  prctl(PR_GET_CHILD_SUBREAPER, &all->subreaper);
  all->thp_disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
  all->keep_capabilities = prctl(PR_GET_KEEPCAPS);
  all->oom_score_adj = read_oom_score_adj();
  all->coredump_filter = read_coredump_filter();
  all->deny_write_execute = prctl(kGetMdwe, 0, 0, 0, 0);
  all->store_bypass = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
  all->indirect_branch = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0);
  prctl(PR_GET_NAME, all->name);
  read_credentials(all->credentials);
  read_bounding_set(all->bounding_set);
  target_require(readlink("/proc/self/ns/user", all->user_namespace, sizeof all->user_namespace - 1) > 0,
                 "ns/user");
}

static void lower_limit(__rlimit_resource_t resource, rlim_t soft, rlim_t hard) {
  struct rlimit limit;
  getrlimit(resource, &limit);
  if (hard < limit.rlim_max) limit.rlim_max = hard;
  limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
  target_require(setrlimit(resource, &limit) == 0, "setrlimit");
}

static void set_attributes(const char* directory) {
  target_require(mkdir(directory, 0700) == 0 && chdir(directory) == 0, directory);
  umask(0137);
  lower_limit(RLIMIT_NOFILE, 300, RLIM_INFINITY);
  lower_limit(RLIMIT_CORE, 4096, RLIM_INFINITY);
  lower_limit(RLIMIT_FSIZE, (rlim_t)1 << 40, RLIM_INFINITY);
  lower_limit(RLIMIT_STACK, 7 << 20, RLIM_INFINITY);
  lower_limit(RLIMIT_CPU, 3000, 4000);
  personality(ADDR_NO_RANDOMIZE);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  signal(SIGUSR1, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGUSR1);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  prctl(PR_SET_NAME, "a name) of its");
  prctl(kSetMdwe, 1, 0, 0, 0);                                                  // not on every kernel
  prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0);  // nor on every processor
  prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_FORCE_DISABLE, 0, 0);
  write_coredump_filter(0x7f);
  FILE* file = fopen("/proc/self/oom_score_adj", "we");
  if (file != NULL) {
    fprintf(file, "321\n");
    fclose(file);
  }
  // Others may no longer trace this process: only root still checkpoints it.
  if (geteuid() == 0) prctl(PR_SET_DUMPABLE, 0);
}

static void check_limits(void) {
  for (unsigned i = 0; i < kLimits; i++) {
    if (after.limits[i].rlim_cur == before.limits[i].rlim_cur &&
        after.limits[i].rlim_max == before.limits[i].rlim_max) {
      continue;
    }
    target_differs("limit %u: %llu, %llu instead of %llu, %llu", i,
                   (unsigned long long)after.limits[i].rlim_cur, (unsigned long long)after.limits[i].rlim_max,
                   (unsigned long long)before.limits[i].rlim_cur,
                   (unsigned long long)before.limits[i].rlim_max);
  }
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a directory");
  set_attributes(argv[1]);
  read_attributes(&before);

  target_ready();
  target_wait(go_file);

  read_attributes(&after);
  target_check_string("working directory", after.directory, before.directory);
  target_check_number("umask", after.mask, before.mask);
  check_limits();
  target_check_number("personality", after.personality, before.personality);
  target_check_number("dumpable", after.dumpable, before.dumpable);
  target_check_number("no_new_privs", after.no_new_privileges, before.no_new_privileges);
  target_check_number("parent-death signal", after.death_signal, before.death_signal);
  target_check_number("child sub-reaper", after.subreaper, before.subreaper);
  target_check_number("huge pages disabled", after.thp_disabled, before.thp_disabled);
  target_check_number("keep capabilities", after.keep_capabilities, before.keep_capabilities);
  target_check_number("oom_score_adj", after.oom_score_adj, before.oom_score_adj);
  target_check_number("coredump_filter", after.coredump_filter, before.coredump_filter);
  target_check_number("denial of writable code", after.deny_write_execute, before.deny_write_execute);
  target_check_number("store bypass", after.store_bypass, before.store_bypass);
  target_check_number("indirect branches", after.indirect_branch, before.indirect_branch);
  target_check_string("name", after.name, before.name);
  target_check_string("credentials", after.credentials, before.credentials);
  if (strcmp(after.user_namespace, before.user_namespace) == 0) {
    target_check_string("bounding set", after.bounding_set, before.bounding_set);
  }
  int file = open("made-here", O_CREAT | O_WRONLY | O_CLOEXEC, 0777);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0)
    target_differs("file in the working directory: %s", strerror(errno));
  if (file >= 0) target_check_number("mode of a new file", status.st_mode & 0777, 0640);
  return target_finish();
}
