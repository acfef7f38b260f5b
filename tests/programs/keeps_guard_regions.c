// Guard regions (MADV_GUARD_INSTALL) still catch every access, and their neighbours keep their content.
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "target.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { kPage = 4096, kPages = 16, kGuardAt = 4, kGuardPages = 3 };

static sigjmp_buf after_fault;

static void on_fault(int signal) {
  (void)signal;
  siglongjmp(after_fault, 1);
}

static bool faults(const volatile unsigned char* at) {
  if (sigsetjmp(after_fault, 1) != 0) return true;
  (void)*at;
  return false;
}

static void check(const char* what, const unsigned char* area) {
  for (int page = 0; page < kPages; page++) {
    bool guarded = page >= kGuardAt && page < kGuardAt + kGuardPages;
    target_check_number(what, faults(area + page * kPage), guarded);
  }
  target_check_pattern(what, area, kGuardAt * kPage, 1);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  struct sigaction action = {.sa_handler = on_fault};
  target_require(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
  unsigned char* area =
      mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(area != MAP_FAILED, "mmap");
  target_fill(area, kPages * kPage, 1);
  if (madvise(area + kGuardAt * kPage, kGuardPages * kPage, MADV_GUARD_INSTALL) != 0) {
    target_require(errno == EINVAL, "MADV_GUARD_INSTALL");
    target_ready();  // a kernel without them has nothing to lose
    target_wait(go_file);
    return target_finish();
  }
  check("before", area);
  target_ready();
  target_wait(go_file);
  check("guard region", area);
  return target_finish();
}
