// A private mapping of a file keeps the pages that were changed in it; the others are still the file's own.
// Takes the file to create before the go file.
#include <fcntl.h>
#include <sys/mman.h>

#include "target.h"

enum { kPages = 32, kPageBytes = 4096, kLatePage = 20 };

static bool is_changed(unsigned page) { return page == 3 || page == 4 || page == 17 || page == kPages - 1; }

static unsigned char* map_file(const char* path, int protection) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  target_require(fd >= 0, path);
  unsigned char* at = mmap(NULL, kPages * kPageBytes, protection, MAP_PRIVATE, fd, 0);
  target_require(at != MAP_FAILED, "mmap");
  close(fd);
  return at;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a file");
  unsigned char content[kPageBytes];
  int fd = open(argv[1], O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  target_require(fd >= 0, argv[1]);
  for (unsigned page = 0; page < kPages; page++) {
    target_fill(content, kPageBytes, page);
    target_require(write(fd, content, kPageBytes) == kPageBytes, "write");
  }
  close(fd);
  unsigned char* writable = map_file(argv[1], PROT_READ | PROT_WRITE);
  unsigned char* readable = map_file(argv[1], PROT_READ);
  for (unsigned page = 0; page < kPages; page++) {
    if (is_changed(page)) target_fill(writable + page * kPageBytes, kPageBytes, 100 + page);
  }

  target_ready();
  target_wait(go_file);

  for (unsigned page = 0; page < kPages; page++) {
    unsigned seed = is_changed(page) ? 100 + page : page;
    target_check_pattern("private file mapping", writable + page * kPageBytes, kPageBytes, seed);
    target_check_pattern("read-only file mapping", readable + page * kPageBytes, kPageBytes, page);
  }
  // Only a mapping of the file itself shows what is written to the file now.
  fd = open(argv[1], O_RDWR | O_CLOEXEC);
  target_require(fd >= 0, argv[1]);
  target_fill(content, kPageBytes, 200);
  target_require(pwrite(fd, content, kPageBytes, kLatePage * kPageBytes) == kPageBytes, "pwrite");
  target_require(pwrite(fd, content, kPageBytes, 3 * kPageBytes) == kPageBytes, "pwrite");
  close(fd);
  target_check_pattern("file written after, unchanged page", writable + kLatePage * kPageBytes, kPageBytes,
                       200);
  target_check_pattern("file written after, read-only mapping", readable + kLatePage * kPageBytes, kPageBytes,
                       200);
  target_check_pattern("file written after, changed page", writable + 3 * kPageBytes, kPageBytes, 103);
  return target_finish();
}
