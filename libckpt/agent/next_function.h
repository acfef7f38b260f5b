// The function that the program would have called if the library did not stand in front of it: libc's, or
// that of another library which stands there too.
#pragma once

#include <dlfcn.h>

namespace ckpt::agent {

// `cache`: of the caller, looked up once. dlsym() takes the dynamic linker's lock and allocates nothing when
// it finds the name.
template <typename Function>
Function* next_function(Function*& cache, const char* name) {
  Function* known = __atomic_load_n(&cache, __ATOMIC_RELAXED);
  if (known != nullptr) return known;
  known = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
  __atomic_store_n(&cache, known, __ATOMIC_RELAXED);
  return known;
}

}  // namespace ckpt::agent
