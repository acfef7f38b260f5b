// The program break is where it was, its memory is kept, and it grows, shrinks and grows again from there.
#include "target.h"

enum { kBytes = 5 * 4096 + 100 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char* heap = sbrk(kBytes);
  target_require(heap != (void*)-1, "sbrk");
  target_fill(heap, kBytes, 7);
  target_ready();
  unsigned char* end = sbrk(0);

  target_wait(go_file);

  if (sbrk(0) != (void*)end) target_differs("break at %p instead of %p", sbrk(0), (void*)end);
  target_check_pattern("memory below the break", heap, kBytes, 7);
  unsigned char* more = sbrk(1 << 20);
  if (more != end) target_differs("break grew from %p instead of %p", (void*)more, (void*)end);
  if (more != (void*)-1) {
    target_check_zero("memory added by sbrk", more, 1 << 20);
    target_fill(more, 1 << 20, 8);
  }
  if (sbrk(-(1 << 20)) == (void*)-1) target_differs("break does not shrink: %s", strerror(errno));
  if (sbrk(1 << 20) != (void*)end) target_differs("break does not grow again");
  target_check_zero("memory given back and taken again", end + 4096, (1 << 20) - 4096);
  target_check_pattern("memory below the break", heap, kBytes, 7);
  return target_finish();
}
