#pragma once

namespace ckpt::agent {

// One system call, of which libc knows nothing: the kernel's value, a negative errno on failure.
inline long raw_syscall(long number, long first, long second, long third, long fourth, long fifth,
                        long sixth) {
  register long r10 asm("r10") = fourth;
  register long r8 asm("r8") = fifth;
  register long r9 asm("r9") = sixth;
  long result = number;
  // The instruction itself overwrites rcx and r11.
  asm volatile("syscall"
               : "+a"(result)
               : "D"(first), "S"(second), "d"(third), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

}  // namespace ckpt::agent
