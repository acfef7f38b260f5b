// open() and its family, close(): who opened what. See intent.h for the rules.
#include <fcntl.h>
#include <stdarg.h>
#include <sys/fanotify.h>

#include "agent/intent.h"
#include "agent/next_function.h"
#include "agent/public.h"

namespace {

using ckpt::agent::next_function;
using ckpt::agent::note_opened;

using Open = int(const char*, int, ...);
using OpenAt = int(int, const char*, int, ...);

bool takes_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

int opened(int descriptor, const char* path, const void* caller) {
  if (descriptor >= 0) note_opened(descriptor, path, caller);
  return descriptor;
}

}  // namespace

// The mode is an argument only of calls that may make a file.
#define CKPT_MODE_AFTER(flags)        \
  mode_t mode = 0;                    \
  if (takes_mode(flags)) {            \
    va_list arguments;                \
    va_start(arguments, flags);       \
    mode = va_arg(arguments, mode_t); \
    va_end(arguments);                \
  }

CKPT_PUBLIC int open(const char* path, int flags, ...) {
  static Open* next = nullptr;
  CKPT_MODE_AFTER(flags)
  return opened(next_function(next, "open")(path, flags, mode), path, __builtin_return_address(0));
}

CKPT_PUBLIC int open64(const char* path, int flags, ...) {
  static Open* next = nullptr;
  CKPT_MODE_AFTER(flags)
  return opened(next_function(next, "open64")(path, flags, mode), path, __builtin_return_address(0));
}

CKPT_PUBLIC int openat(int directory, const char* path, int flags, ...) {
  static OpenAt* next = nullptr;
  CKPT_MODE_AFTER(flags)
  return opened(next_function(next, "openat")(directory, path, flags, mode), path,
                __builtin_return_address(0));
}

CKPT_PUBLIC int openat64(int directory, const char* path, int flags, ...) {
  static OpenAt* next = nullptr;
  CKPT_MODE_AFTER(flags)
  return opened(next_function(next, "openat64")(directory, path, flags, mode), path,
                __builtin_return_address(0));
}

CKPT_PUBLIC int creat(const char* path, mode_t mode) {
  static int (*next)(const char*, mode_t) = nullptr;
  return opened(next_function(next, "creat")(path, mode), path, __builtin_return_address(0));
}

CKPT_PUBLIC int creat64(const char* path, mode_t mode) {
  static int (*next)(const char*, mode_t) = nullptr;
  return opened(next_function(next, "creat64")(path, mode), path, __builtin_return_address(0));
}

// By the name that /proc/PID/fd has for it.
CKPT_PUBLIC int fanotify_init(unsigned flags, unsigned event_flags) {
  static int (*next)(unsigned, unsigned) = nullptr;
  return opened(next_function(next, "fanotify_init")(flags, event_flags), "[fanotify]",
                __builtin_return_address(0));
}

// Before the call: afterwards the number may be another thread's.
CKPT_PUBLIC int close(int descriptor) {
  static int (*next)(int) = nullptr;
  ckpt::agent::note_closed(descriptor);
  return next_function(next, "close")(descriptor);
}
