// A shared mapping of a file stays connected to the file in both directions, also where it is read-only.
// Takes the file to create before the go file.
#include <fcntl.h>
#include <sys/mman.h>

#include "target.h"

enum { kPages = 16, kPageBytes = 4096, kBytes = kPages * kPageBytes, kOffsetPages = 5 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a file");
  int fd = open(argv[1], O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  target_require(fd >= 0, argv[1]);
  target_require(ftruncate(fd, kBytes) == 0, "ftruncate");
  unsigned char* writable = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  unsigned char* tail = mmap(NULL, kBytes - kOffsetPages * kPageBytes, PROT_READ, MAP_SHARED, fd,
                             (off_t)kOffsetPages * kPageBytes);
  target_require(writable != MAP_FAILED && tail != MAP_FAILED, "mmap");
  close(fd);
  target_fill(writable, kBytes, 1);
  memset(writable + kPageBytes, 0, kPageBytes);

  target_ready();
  target_wait(go_file);

  target_check_pattern("shared file mapping", writable, kPageBytes, 1);
  target_check_zero("shared file mapping", writable + kPageBytes, kPageBytes);
  target_check_bytes("mapping of the file's tail", tail, writable + kOffsetPages * kPageBytes,
                     kBytes - kOffsetPages * kPageBytes);
  unsigned char content[kPageBytes];
  fd = open(argv[1], O_RDWR | O_CLOEXEC);
  target_require(fd >= 0, argv[1]);
  target_fill(writable + 2 * kPageBytes, kPageBytes, 2);
  target_require(pread(fd, content, kPageBytes, 2 * kPageBytes) == kPageBytes, "pread");
  target_check_pattern("file after writing to its mapping", content, kPageBytes, 2);
  target_fill(content, kPageBytes, 3);
  target_require(pwrite(fd, content, kPageBytes, 6 * kPageBytes) == kPageBytes, "pwrite");
  close(fd);
  target_check_pattern("mapping after writing to its file", writable + 6 * kPageBytes, kPageBytes, 3);
  target_check_pattern("tail after writing to its file", tail + kPageBytes, kPageBytes, 3);
  return target_finish();
}
