// The protocol of every target, and what it needs to check itself.
//
// A target sets up its state, prints "ready", and polls for a *go file*, named by its last argument. It may
// be checkpointed, killed and recovered any number of times in between. When the go file exists it checks all
// of its state, prints every difference or "ok", and exits 1 or 0; 2 if it could not set itself up.
//
// Hard rule: waiting uses no descriptor, no heap and no state of the C library, so that a target which is
// about those sees them untouched.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned target_differences;

__attribute__((format(printf, 1, 2))) static inline void target_differs(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  __atomic_add_fetch(&target_differences, 1, __ATOMIC_RELAXED);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
}

// Setting up failed: the target cannot say anything about checkpoints.
static inline void target_require(bool condition, const char* what) {
  if (condition) return;
  printf("cannot set up: %s: %s\n", what, strerror(errno));
  fflush(stdout);
  _exit(2);
}

static inline const char* target_go_file(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s [ARGUMENT...] GO_FILE\n", argv[0]);
    exit(2);
  }
  return argv[argc - 1];
}

static inline bool target_told_to_go(const char* go_file) { return access(go_file, F_OK) == 0; }

static inline void target_sleep_ms(long milliseconds) {
  struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

static inline void target_ready(void) {
  printf("ready\n");
  fflush(stdout);
}

static inline void target_wait(const char* go_file) {
  while (!target_told_to_go(go_file)) target_sleep_ms(10);
}

static inline int target_finish(void) {
  if (target_differences == 0) printf("ok\n");
  fflush(stdout);
  return target_differences == 0 ? 0 : 1;
}

static inline void target_check_number(const char* what, long long is, long long expected) {
  if (is != expected) target_differs("%s: %lld instead of %lld", what, is, expected);
}

static inline void target_check_string(const char* what, const char* is, const char* expected) {
  if (strcmp(is, expected) != 0) target_differs("%s: \"%s\" instead of \"%s\"", what, is, expected);
}

// One difference per range is enough: it names the first byte and how many follow.
static inline void target_check_bytes(const char* what, const void* at, const void* expected,
                                      size_t size_bytes) {
  const unsigned char* is = (const unsigned char*)at;
  const unsigned char* should_be = (const unsigned char*)expected;
  size_t wrong = 0;
  size_t first = 0;
  for (size_t i = 0; i < size_bytes; i++) {
    if (is[i] != should_be[i] && wrong++ == 0) first = i;
  }
  if (wrong != 0) {
    target_differs("%s at %p byte %zu: %u instead of %u (%zu of %zu bytes differ)", what, at, first,
                   is[first], should_be[first], wrong, size_bytes);
  }
}

// Content that differs from page to page and from seed to seed.
static inline unsigned char target_pattern(unsigned seed, size_t index) {
  uint64_t x = (uint64_t)index + ((uint64_t)seed << 40) + 1;
  x *= 0x9e3779b97f4a7c15u;
  return (unsigned char)(x >> 56);
}

static inline void target_fill(void* at, size_t size_bytes, unsigned seed) {
  unsigned char* bytes = (unsigned char*)at;
  for (size_t i = 0; i < size_bytes; i++) bytes[i] = target_pattern(seed, i);
}

static inline void target_check_pattern(const char* what, const void* at, size_t size_bytes, unsigned seed) {
  const unsigned char* bytes = (const unsigned char*)at;
  size_t wrong = 0;
  size_t first = 0;
  for (size_t i = 0; i < size_bytes; i++) {
    if (bytes[i] != target_pattern(seed, i) && wrong++ == 0) first = i;
  }
  if (wrong != 0) {
    target_differs("%s at %p byte %zu: %u instead of %u (%zu of %zu bytes differ)", what, at, first,
                   bytes[first], target_pattern(seed, first), wrong, size_bytes);
  }
}

static inline void target_check_zero(const char* what, const void* at, size_t size_bytes) {
  const unsigned char* bytes = (const unsigned char*)at;
  for (size_t i = 0; i < size_bytes; i++) {
    if (bytes[i] == 0) continue;
    target_differs("%s at %p byte %zu: %u instead of 0", what, at, i, bytes[i]);
    return;
  }
}

static inline int64_t target_now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
