// Memory that nobody else can read (memfd_secret): a checkpoint has to be refused.
#include <sys/mman.h>
#include <sys/syscall.h>

#include "target.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  int fd = (int)syscall(SYS_memfd_secret, 0);
  target_require(fd >= 0 && ftruncate(fd, 4096) == 0, "memfd_secret");
  char* secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  target_require(secret != MAP_FAILED, "mmap");
  close(fd);
  strcpy(secret, "secret");
  target_ready();
  target_wait(go_file);
  target_check_string("secret", secret, "secret");
  return target_finish();
}
