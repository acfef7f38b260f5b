// A memfd with a descriptor, shared and private mappings stays one object; its seals and offset are kept.
#include <fcntl.h>
#include <sys/mman.h>

#include "target.h"

enum { kPages = 16, kPageBytes = 4096, kBytes = kPages * kPageBytes, kOffset = 12345 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  int fd = memfd_create("target memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  target_require(fd >= 0, "memfd_create");
  target_require(ftruncate(fd, kBytes) == 0, "ftruncate");
  unsigned char* shared = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  unsigned char* private = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  target_require(shared != MAP_FAILED && private != MAP_FAILED, "mmap");
  target_fill(shared, kBytes / 2, 1);
  target_fill(private, kPageBytes, 2);
  target_require(lseek(fd, kOffset, SEEK_SET) == kOffset, "lseek");
  target_require(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0, "F_ADD_SEALS");

  // One that lives only by its mapping.
  int closed = memfd_create("only mapped", MFD_CLOEXEC);
  target_require(closed >= 0 && ftruncate(closed, kBytes) == 0, "memfd_create");
  unsigned char* only_mapped = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, closed, 0);
  target_require(only_mapped != MAP_FAILED, "mmap");
  close(closed);
  target_fill(only_mapped, kBytes, 3);

  target_ready();
  target_wait(go_file);

  unsigned char content[kPageBytes];
  target_check_pattern("shared mapping", shared, kBytes / 2, 1);
  target_check_zero("untouched part of the shared mapping", shared + kBytes / 2, kBytes / 2);
  target_check_pattern("private mapping, changed page", private, kPageBytes, 2);
  target_check_bytes("private mapping, other pages", private + kPageBytes, shared + kPageBytes,
                     kBytes - kPageBytes);
  target_check_pattern("memfd without descriptor", only_mapped, kBytes, 3);
  target_check_number("offset", lseek(fd, 0, SEEK_CUR), kOffset);
  target_check_number("seals", fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK);
  target_check_number("close-on-exec", fcntl(fd, F_GETFD), FD_CLOEXEC);
  target_check_number("size", lseek(fd, 0, SEEK_END), kBytes);
  target_fill(shared + 10 * kPageBytes, kPageBytes, 4);
  target_check_number("pread", pread(fd, content, kPageBytes, 10 * kPageBytes), kPageBytes);
  target_check_pattern("descriptor after a write to the mapping", content, kPageBytes, 4);
  target_check_pattern("private mapping after a write to the shared one", private + 10 * kPageBytes,
                       kPageBytes, 4);
  if (ftruncate(fd, kPageBytes) == 0) target_differs("the seal against shrinking is gone");

  char path[64];
  char name[64] = {0};
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  target_require(readlink(path, name, sizeof name - 1) > 0, path);
  target_check_string("name", name, "/memfd:target memory (deleted)");
  return target_finish();
}
