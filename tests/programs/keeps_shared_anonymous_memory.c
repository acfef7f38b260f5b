// Shared anonymous memory mapped twice stays one object, and is still shared with children made afterwards.
#include <sys/mman.h>
#include <sys/wait.h>

#include "target.h"

enum { kPages = 16, kPageBytes = 4096, kBytes = kPages * kPageBytes };

static unsigned char* map_shared(size_t size_bytes) {
  unsigned char* at = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  target_require(at != MAP_FAILED, "mmap");
  return at;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char* first = map_shared(kBytes);
  // An old size of 0 maps the same object once more.
  unsigned char* second = mremap(first, 0, kBytes, MREMAP_MAYMOVE);
  target_require(second != MAP_FAILED, "mremap");
  unsigned char* other = map_shared(kBytes);
  for (unsigned page = 0; page < kPages; page += 2) target_fill(first + page * kPageBytes, kPageBytes, page);
  target_fill(other, kPageBytes, 99);
  target_require(mprotect(second, kPageBytes, PROT_READ) == 0, "mprotect");

  target_ready();
  target_wait(go_file);

  for (unsigned page = 0; page < kPages; page++) {
    if (page % 2 == 0) {
      target_check_pattern("shared memory", first + page * kPageBytes, kPageBytes, page);
    } else {
      target_check_zero("untouched shared memory", first + page * kPageBytes, kPageBytes);
    }
  }
  target_check_bytes("second mapping", second, first, kBytes);
  target_check_pattern("other shared memory", other, kPageBytes, 99);
  target_fill(second + 3 * kPageBytes, kPageBytes, 50);
  target_check_pattern("first mapping after a write to the second", first + 3 * kPageBytes, kPageBytes, 50);
  target_fill(first, kPageBytes, 51);
  target_check_pattern("second mapping after a write to the first", second, kPageBytes, 51);

  pid_t child = fork();
  if (child == 0) {
    target_fill(other + 2 * kPageBytes, kPageBytes, 52);
    _exit(0);
  }
  target_check_number("waitpid", waitpid(child, NULL, 0), child);
  target_check_pattern("shared memory that a child wrote", other + 2 * kPageBytes, kPageBytes, 52);
  return target_finish();
}
