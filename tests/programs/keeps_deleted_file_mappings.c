// Mappings of a file that was deleted keep its content; shared ones of the same file stay one object.
// Takes the file to create (and delete) before the go file.
#include <fcntl.h>
#include <sys/mman.h>

#include "target.h"

enum { kPages = 16, kPageBytes = 4096, kBytes = kPages * kPageBytes };

static unsigned char* map(int fd, int flags, size_t first_page) {
  unsigned char* at = mmap(NULL, kBytes - first_page * kPageBytes, PROT_READ | PROT_WRITE, flags, fd,
                           (off_t)(first_page * kPageBytes));
  target_require(at != MAP_FAILED, "mmap");
  return at;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a file");
  int fd = open(argv[1], O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  target_require(fd >= 0, argv[1]);
  unsigned char content[kPageBytes];
  for (unsigned page = 0; page < kPages; page++) {
    target_fill(content, kPageBytes, page);
    target_require(write(fd, content, kPageBytes) == kPageBytes, "write");
  }
  unsigned char* shared = map(fd, MAP_SHARED, 0);
  unsigned char* shared_tail = map(fd, MAP_SHARED, 4);
  unsigned char* private = map(fd, MAP_PRIVATE, 0);
  close(fd);
  target_require(unlink(argv[1]) == 0, "unlink");
  target_fill(shared + 5 * kPageBytes, kPageBytes, 105);
  target_fill(private + 6 * kPageBytes, kPageBytes, 206);

  target_ready();
  target_wait(go_file);

  for (unsigned page = 0; page < kPages; page++) {
    unsigned char* at = shared + page * kPageBytes;
    target_check_pattern("shared mapping", at, kPageBytes, page == 5 ? 105 : page);
    if (page != 6) target_check_bytes("private mapping", private + page * kPageBytes, at, kPageBytes);
  }
  target_check_pattern("changed page of the private mapping", private + 6 * kPageBytes, kPageBytes, 206);
  target_check_bytes("shared mapping of the tail", shared_tail, shared + 4 * kPageBytes,
                     kBytes - 4 * kPageBytes);
  target_fill(shared + 7 * kPageBytes, kPageBytes, 107);
  target_check_pattern("tail after a write to the whole", shared_tail + 3 * kPageBytes, kPageBytes, 107);
  return target_finish();
}
