// Runs ckptrun and ends it, its program, or both with SIGKILL when it enters a named system call for the N-th
// time.
//
//   kills_at_call count MARK_FILE RESULT_FILE CKPTRUN...                      how often each call is made
//   kills_at_call CALL N supervisor|program|both MARK_FILE RESULT_FILE CKPTRUN...   strikes
//
// Counts only while MARK_FILE exists. The pid that was started becomes ckptrun; the tracer is a process
// beside it, which ends at its strike. RESULT_FILE then says "struck" (and "nobody" if there was no program
// yet); else, when ckptrun has ended, one line "CALL COUNT" for each call of the table.
//
// Hard rules:
//  1. Only ckptrun and its threads are traced, never what it forks: ckptrun traces its program itself.
//  2. A call is struck at its entry, so that the one before it has been completed and this one has not begun.
//  3. Both are struck while ckptrun is stopped, so that neither sees the other end.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

enum { kAnyRequest = -1, kAnyCall = -1 };

struct Point {
  const char* name;
  long number;
  long request;  // of ptrace
  unsigned long count;
};

// A call counts for the first line that fits, so that all lines together are all calls.
static struct Point points[] = {
    {"ptrace-seize", SYS_ptrace, PTRACE_SEIZE, 0},
    {"ptrace-interrupt", SYS_ptrace, PTRACE_INTERRUPT, 0},
    {"ptrace-getregset", SYS_ptrace, PTRACE_GETREGSET, 0},
    {"ptrace-setregset", SYS_ptrace, PTRACE_SETREGSET, 0},
    {"ptrace-setregs", SYS_ptrace, PTRACE_SETREGS, 0},
    {"ptrace-setsigmask", SYS_ptrace, PTRACE_SETSIGMASK, 0},
    {"ptrace-cont", SYS_ptrace, PTRACE_CONT, 0},
    {"ptrace-syscall", SYS_ptrace, PTRACE_SYSCALL, 0},
    {"ptrace-detach", SYS_ptrace, PTRACE_DETACH, 0},
    {"ptrace", SYS_ptrace, kAnyRequest, 0},
    {"process_vm_readv", SYS_process_vm_readv, kAnyRequest, 0},
    {"process_vm_writev", SYS_process_vm_writev, kAnyRequest, 0},
    {"openat", SYS_openat, kAnyRequest, 0},
    {"openat2", SYS_openat2, kAnyRequest, 0},
    {"read", SYS_read, kAnyRequest, 0},
    {"pread64", SYS_pread64, kAnyRequest, 0},
    {"write", SYS_write, kAnyRequest, 0},
    {"pwrite64", SYS_pwrite64, kAnyRequest, 0},
    {"fdatasync", SYS_fdatasync, kAnyRequest, 0},
    {"fsync", SYS_fsync, kAnyRequest, 0},
    {"rename", SYS_rename, kAnyRequest, 0},
    {"renameat", SYS_renameat, kAnyRequest, 0},
    {"renameat2", SYS_renameat2, kAnyRequest, 0},
    {"unlinkat", SYS_unlinkat, kAnyRequest, 0},
    {"mmap", SYS_mmap, kAnyRequest, 0},
    {"clone3", SYS_clone3, kAnyRequest, 0},
    {"wait4", SYS_wait4, kAnyRequest, 0},
    {"sendto", SYS_sendto, kAnyRequest, 0},
    {"other", kAnyCall, kAnyRequest, 0},
};
enum { kPoints = sizeof points / sizeof points[0] };

static const char *mark_file, *result_file, *victim;
static struct Point* target_point;  // NULL: count
static unsigned long occurrence;
static pid_t supervisor;

// Complete under its name, or not there.
static void write_result(const char* text) {
  char temporary[4096];
  snprintf(temporary, sizeof temporary, "%s.new", result_file);
  FILE* file = fopen(temporary, "w");
  target_require(file != NULL, temporary);
  if (text != NULL) fprintf(file, "%s\n", text);
  for (int i = 0; text == NULL && i < kPoints; i++)
    fprintf(file, "%s %lu\n", points[i].name, points[i].count);
  target_require(fclose(file) == 0 && rename(temporary, result_file) == 0, result_file);
}

static long process_of(pid_t thread) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/status", thread);
  FILE* file = fopen(path, "r");
  if (file == NULL) return 0;
  long process = 0;
  char line[256];
  while (process == 0 && fgets(line, sizeof line, file) != NULL) sscanf(line, "Tgid: %ld", &process);
  fclose(file);
  return process;
}

// What ckptrun has started; with an own pid namespace its first process is among it.
static unsigned kill_children(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", supervisor, supervisor);
  FILE* file = fopen(path, "r");
  target_require(file != NULL, path);
  unsigned killed = 0;
  int child;
  while (fscanf(file, "%d", &child) == 1) killed += kill(child, SIGKILL) == 0;
  fclose(file);
  return killed;
}

// The result is there before anybody can see an effect of the strike: ckptrun stands still until we end.
__attribute__((noreturn)) static void strike(void) {
  bool program = strcmp(victim, "supervisor") != 0;
  unsigned killed = program ? kill_children() : 0;
  write_result(program && killed == 0 ? "struck nobody" : "struck");
  if (strcmp(victim, "program") != 0) kill(supervisor, SIGKILL);
  _exit(0);  // lets go of every thread
}

static void enter_call(const struct __ptrace_syscall_info* call) {
  if (access(mark_file, F_OK) != 0) return;
  for (int i = 0; i < kPoints; i++) {
    struct Point* point = &points[i];
    if (point->number != kAnyCall && point->number != (long)call->entry.nr) continue;
    if (point->request != kAnyRequest && point->request != (long)call->entry.args[0]) continue;
    point->count++;
    if (point == target_point && point->count == occurrence) strike();
    return;
  }
}

static void handle_stop(pid_t thread, int status) {
  int signal = WSTOPSIG(status);
  int event = status >> 16;
  if (signal == (SIGTRAP | 0x80)) {
    struct __ptrace_syscall_info call;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof call, &call) > 0 &&
        call.op == PTRACE_SYSCALL_INFO_ENTRY)
      enter_call(&call);
    signal = 0;
  } else if (event == PTRACE_EVENT_STOP) {
    if (process_of(thread) != supervisor) {
      ptrace(PTRACE_DETACH, thread, NULL, NULL);
      return;
    }
    // A stop by job control lasts until SIGCONT; that of a new thread, or of our interrupt, does not.
    if (signal != SIGTRAP) {
      ptrace(PTRACE_LISTEN, thread, NULL, NULL);
      return;
    }
    signal = 0;
  } else if (event != 0) {
    signal = 0;
  }
  ptrace(PTRACE_SYSCALL, thread, NULL, (long)signal);  // fails if the thread was killed: waitpid tells
}

__attribute__((noreturn)) static void trace(int go_pipe) {
  const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
  target_require(ptrace(PTRACE_SEIZE, supervisor, NULL, options) == 0, "PTRACE_SEIZE");
  target_require(ptrace(PTRACE_INTERRUPT, supervisor, NULL, NULL) == 0, "PTRACE_INTERRUPT");
  target_require(write(go_pipe, "g", 1) == 1, "write");
  close(go_pipe);
  for (;;) {
    int status;
    pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0 && errno == EINTR) continue;
    if (thread < 0) break;
    if (WIFSTOPPED(status)) handle_stop(thread, status);
  }
  write_result(NULL);
  _exit(0);
}

// The tracer is nobody's child, so that ckptrun has no child that it did not make.
static void start_tracer(void) {
  int ready[2];
  supervisor = getpid();
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);  // only Yama knows it
  target_require(pipe(ready) == 0, "pipe");
  pid_t between = fork();
  target_require(between >= 0, "fork");
  if (between == 0) {
    pid_t tracer = fork();
    target_require(tracer >= 0, "fork");
    if (tracer != 0) _exit(0);
    close(ready[0]);
    trace(ready[1]);
  }
  close(ready[1]);
  waitpid(between, NULL, 0);
  char go;
  ssize_t got;
  do {
    got = read(ready[0], &go, 1);
  } while (got < 0 && errno == EINTR);
  target_require(got == 1, "the tracer");
  close(ready[0]);
}

int main(int argc, char** argv) {
  bool counts = argc > 4 && strcmp(argv[1], "count") == 0;
  char** rest = argv + (counts ? 2 : 4);
  target_require(argc > (counts ? 4 : 6), "needs what to strike, two files and a command");
  if (!counts) {
    for (int i = 0; i < kPoints; i++) {
      if (strcmp(points[i].name, argv[1]) == 0) target_point = &points[i];
    }
    occurrence = strtoul(argv[2], NULL, 10);
    victim = argv[3];
    target_require(target_point != NULL && occurrence > 0, argv[1]);
    target_require(
        strcmp(victim, "supervisor") == 0 || strcmp(victim, "program") == 0 || strcmp(victim, "both") == 0,
        victim);
  }
  mark_file = rest[0];
  result_file = rest[1];
  start_tracer();
  execv(rest[2], rest + 2);
  target_require(false, rest[2]);
}
