// io_uring_setup(2) and io_uring_register(2) for tests, of which several may run as the same user at once:
// rings and registered buffers count against RLIMIT_MEMLOCK of the user, those of a closed ring until the
// kernel has taken it apart in the background.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

// As syscall(2), but waits up to ten seconds for memory.
static inline long ring_call(long number, long first, intptr_t second, const void* third, long fourth) {
  enum { kTries = 2000 };
  const struct timespec pause = {0, 5000000};
  long result = syscall(number, first, second, third, fourth);
  for (int i = 0; result < 0 && errno == ENOMEM && i < kTries; i++) {
    nanosleep(&pause, NULL);
    result = syscall(number, first, second, third, fourth);
  }
  return result;
}
