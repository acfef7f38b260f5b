// The library that is preloaded into programs (libckpt/agent), and which programs can take it.
#pragma once

#include <string>

namespace ckpt::launcher {

// The value of LD_PRELOAD for a program that is started from the file `program`, `present` being the value
// that ckptrun found. Empty if the library cannot or need not be preloaded: the program is linked statically,
// for another processor or with another C library than the one we know; the library is not installed beside
// us, or its path would not survive in LD_PRELOAD.
std::string preload_for(const std::string& program, const char* present);

// Whether the file, or for a script its interpreter, is started by glibc's dynamic linker for x86-64.
bool uses_known_linker(const std::string& program);

}  // namespace ckpt::launcher
