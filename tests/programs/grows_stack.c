// The main thread's stack keeps its frames and still grows by itself, 4 MiB deeper than it ever was.
#include "target.h"

enum { kFrameBytes = 4096, kDeeperFrames = 1024 };

__attribute__((noinline)) static unsigned recurse(unsigned depth) {
  volatile unsigned char frame[kFrameBytes];
  for (size_t i = 0; i < kFrameBytes; i++) frame[i] = target_pattern(depth, i);
  unsigned below = depth == 0 ? 0 : recurse(depth - 1);
  unsigned wrong = 0;
  for (size_t i = 0; i < kFrameBytes; i++) wrong += frame[i] != target_pattern(depth, i);
  return below + wrong;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char old_frame[3 * kFrameBytes];
  target_fill(old_frame, sizeof old_frame, 1);

  target_ready();
  target_wait(go_file);

  target_check_number("wrong bytes in new stack frames", recurse(kDeeperFrames), 0);
  target_check_pattern("stack frame", old_frame, sizeof old_frame, 1);
  return target_finish();
}
