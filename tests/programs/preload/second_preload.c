// Stands in front of open(), as a tracer or a wrapper of another project would, and passes everything on.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>

int second_preload_calls;

int open(const char* path, int flags, ...) {
  static int (*next)(const char*, int, ...);
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (next == NULL) next = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, "open");
  second_preload_calls++;
  return next(path, flags, mode);
}
