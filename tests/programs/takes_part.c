// Calls libckpt as it is told: by files DIRECTORY/do.1, do.2, ... with a command in each, whose outcome it
// prints.
#include <inttypes.h>
#include <pthread.h>
#include <sys/mman.h>

#include "ckpt/ckpt.h"
#include "target.h"

static const char* directory;
static volatile int churns;

static bool exists(const char* name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return access(path, F_OK) == 0;
}

static int hook(enum ckpt_event event, void* argument) {
  static const char* names[] = {"?", "before", "after", "restored"};
  if (exists("quiet")) return 0;
  printf("hook %s %s\n", names[event], (const char*)argument);
  fflush(stdout);
  return event == CKPT_BEFORE_CHECKPOINT && exists("cancel") ? 3 : 0;
}

static int register_hooks(void) {
  int result = 0;
  for (int event = CKPT_BEFORE_CHECKPOINT; event <= CKPT_AFTER_RESTORE; event++) {
    result += ckpt_on((enum ckpt_event)event, hook, "first");
    result += ckpt_on((enum ckpt_event)event, hook, "second");
  }
  return result;
}

// Nearly all the time inside of a section.
static void* churn(void* unused) {
  (void)unused;
  while (churns) {
    ckpt_disable();
    uint64_t generation = ckpt_generation();
    target_sleep_ms(2);
    if (generation != ckpt_generation()) printf("recovered inside of a critical section\n");
    ckpt_enable();
    struct timespec moment = {0, 50000};
    nanosleep(&moment, NULL);
  }
  return NULL;
}

static int start_churn(void) {
  pthread_t thread;
  churns = 1;
  return pthread_create(&thread, NULL, churn, NULL);
}

// A place grants the lease while a file of its name exists.
static int establish(const char* name, const char* place, void* argument) {
  bool granted = access(place, F_OK) == 0;
  printf("establish %s %s %s %s\n", name, strrchr(place, '/') + 1, (char*)argument,
         granted ? "granted" : "refused");
  fflush(stdout);
  return granted ? 0 : 1;
}

static void expire(const char* name, const char* place, void* argument) {
  printf("expire %s %s %s\n", name, strrchr(place, '/') + 1, (char*)argument);
  fflush(stdout);
}

static int register_lease(void) {
  char places[512];
  snprintf(places, sizeof places, "%s/here %s/there", directory, directory);
  return ckpt_lease("token", places, establish, expire, "x");
}

static int show_leases(void) {
  for (size_t i = 0; ckpt_lease_name(i) != NULL; i++) {
    const char* place = "";
    int state = ckpt_lease_state_of(ckpt_lease_name(i), &place);
    printf("lease %s %d %s\n", ckpt_lease_name(i), state, strrchr(place, '/') + 1);
  }
  return ckpt_lease_state_of("unknown", NULL);
}

static int show_args(void) {
  size_t count = 77;
  const char* const* arguments = ckpt_args(&count);
  printf("args %zu", count);
  for (size_t i = 0; arguments != NULL && arguments[i] != NULL; i++) printf(" [%s]", arguments[i]);
  printf("%s\n", arguments == NULL ? " none" : "");
  return 0;
}

// Memory that whatever is copied from this process shall not have.
static char* secret;

static void make_secret(void) {
  secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(secret != MAP_FAILED && madvise(secret, 4096, MADV_WIPEONFORK) == 0, "MADV_WIPEONFORK");
  *secret = 77;
}

static int show_secret(void) { return *secret; }

static int show_generation(void) {
  printf("generation %016" PRIx64 "\n", ckpt_generation());
  return 0;
}

static int checkpoint(void) { return ckpt_checkpoint(0); }
static int checkpoint_durably(void) { return ckpt_checkpoint(CKPT_DURABLE); }
static int checkpoint_strangely(void) { return ckpt_checkpoint(4); }
static int end_churn(void) { return churns = 0; }
static int quit(void) {
  printf("ok\n");
  exit(0);
}

static const struct {
  const char* name;
  int (*function)(void);
} commands[] = {
    {"checkpoint", checkpoint},
    {"durable", checkpoint_durably},
    {"strange", checkpoint_strangely},
    {"disable", ckpt_disable},
    {"enable", ckpt_enable},
    {"hooks", register_hooks},
    {"generation", show_generation},
    {"args", show_args},
    {"lease", register_lease},
    {"leases", show_leases},
    {"churn", start_churn},
    {"calm", end_churn},
    {"secret", show_secret},
    {"quit", quit},
};

static void execute(const char* name) {
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
    if (strcmp(commands[i].name, name) != 0) continue;
    errno = 1234;
    int result = commands[i].function();
    printf("%s %d%s\n", name, result, errno == 1234 ? "" : " and errno changed");
  }
  fflush(stdout);
}

int main(int argc, char** argv) {
  directory = target_go_file(argc, argv);
  make_secret();
  target_ready();
  for (int number = 1;; number++) {
    char name[32];
    char path[512];
    char word[32] = "";
    snprintf(name, sizeof name, "do.%d", number);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    while (!exists(name)) target_sleep_ms(1);
    FILE* file = fopen(path, "re");
    target_require(file != NULL && fscanf(file, "%31s", word) == 1, path);
    fclose(file);
    execute(word);
  }
}
