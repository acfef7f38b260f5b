// What a preloaded library must not disturb: calls made before main, by children of vfork, and as raw system
// calls; errno; the environment of this program and of its children. With the argument "second", another
// preload stands in front of open() as well.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

enum { kReservedBytes = 64 << 20 };

static int opened_before_main = -2;
static void* mapped_before_main;

__attribute__((constructor(101))) static void before_main(void) {
  opened_before_main = open("/dev/null", O_RDONLY | O_CLOEXEC);
  mapped_before_main = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void check_errno(const char* directory) {
  errno = 1234;
  int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0 || errno != 1234) target_differs("a good open() left errno %d", errno);
  errno = 1234;
  if (close(file) != 0 || errno != 1234) target_differs("a good close() left errno %d", errno);
  if (open("/does/not/exist", O_RDONLY) != -1 || errno != ENOENT)
    target_differs("a bad open() left errno %d", errno);
  if (close(-1) != -1 || errno != EBADF) target_differs("a bad close() left errno %d", errno);
  if (mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED || errno != EINVAL)
    target_differs("a bad mmap() left errno %d", errno);
}

// The child shares our memory: what it opens must not count as ours.
static void check_vfork(int kept) {
  pid_t child = vfork();
  if (child == 0) {
    close(kept);
    int file = open("/dev/zero", O_RDONLY);
    execl("/bin/sh", "sh", "-c", "test -z \"$LD_PRELOAD\"", (char*)NULL);
    _exit(file);
  }
  int status = 0;
  target_check_number("vfork", waitpid(child, &status, 0), child);
  target_check_number("status of a child with the environment of this program", status, 0);
}

static void check_environment(const char* expected) {
  const char* preload = getenv("LD_PRELOAD");
  target_check_string("LD_PRELOAD", preload != NULL ? preload : "none", expected);
  char command[512];
  snprintf(command, sizeof command, "test \"${LD_PRELOAD:-none}\" = '%s'", expected);
  target_check_number("a shell that compares LD_PRELOAD", system(command), 0);
}

// Values, errors, all six arguments, and a child.
static void check_raw_calls(int file) {
  errno = 0;
  target_check_number("a call that fails", syscall(SYS_close, -1), -1);
  target_check_number("its errno", errno, EBADF);
  target_check_number("a call that is noted and fails", syscall(SYS_userfaultfd, ~0), -1);
  target_check_number("its errno", errno, EINVAL);
  errno = 0;
  target_require(ftruncate(file, 8192) == 0 && pwrite(file, "six", 3, 4096) == 3, "write");
  struct {
    void* at;
  } mapped = {(void*)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, file, 4096)};
  target_check_bytes("what the sixth argument chose", mapped.at, "six", 3);
  target_check_number("munmap", syscall(SYS_munmap, mapped.at, 4096), 0);
  pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
  if (child == 0) _exit(7);
  int status = 0;
  target_check_number("the child", waitpid(child, &status, 0), child);
  target_check_number("its status", WEXITSTATUS(status), 7);
  target_check_number("errno", errno, 0);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  const char* preload = argc > 2 ? argv[1] : "none";
  char directory[512];
  snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(go_file, '/') - go_file), go_file);
  if (opened_before_main < 0 || mapped_before_main == MAP_FAILED) target_differs("calls before main failed");
  char path[600];
  snprintf(path, sizeof path, "%s/by-libc", directory);
  int by_libc = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  snprintf(path, sizeof path, "%s/raw", directory);
  int raw = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  target_require(by_libc >= 0 && raw >= 0, "open");
  struct {
    void* at;
  } reserved = {mmap(NULL, kReservedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)};
  target_require(reserved.at != MAP_FAILED, "mmap");
  check_errno(directory);
  check_environment(preload);
  check_raw_calls(by_libc);
  if (argc == 2) check_vfork(by_libc);
  if (argc > 2) {
    int* calls = dlsym(RTLD_DEFAULT, "second_preload_calls");
    if (calls == NULL || *calls < 3) target_differs("the other preload saw %d calls", calls ? *calls : -1);
  }
  target_ready();
  target_wait(go_file);
  check_errno(directory);
  check_environment(preload);
  if (fcntl(by_libc, F_GETFD) < 0 || fcntl(raw, F_GETFD) < 0) target_differs("a file is closed");
  return target_finish();
}
