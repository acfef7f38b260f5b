// --cpu-baseline: a program that was limited to what many processors have can go on on any of them.
//
// glibc chooses among variants of its functions, and among library directories, by what the processor offers,
// less what the tunable glibc.cpu.hwcaps forbids. That holds for all that asks libc; a program that executes
// CPUID itself (OpenSSL, numpy, JIT compilers) is not limited by it.
#pragma once

#include <string>

namespace ckpt::launcher {

// Throws Error for anything but x86-64-v2 and x86-64-v3 (the levels of the x86-64 psABI).
std::string parse_cpu_baseline(const std::string& text);

// The value of GLIBC_TUNABLES for the program, `present` being the one that we found (may be nullptr). Throws
// Error if that forbids or allows features already.
std::string tunables_for(const std::string& cpu_baseline, const char* present);

}  // namespace ckpt::launcher
