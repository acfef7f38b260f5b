// The library that is preloaded into programs (libckpt/agent), and which programs can take it.
#pragma once

#include <string>

namespace ckpt::launcher {

// The value of LD_PRELOAD for a program that is started from the file `program`, `present` being the value
// that ckptrun found. Empty if the library cannot or need not be preloaded: the program does not take it
// (takes_preload.h); the library is not installed beside us, or its path would not survive in LD_PRELOAD.
std::string preload_for(const std::string& program, const char* present);

}  // namespace ckpt::launcher
