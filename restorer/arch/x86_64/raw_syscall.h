#pragma once

#include <cstdint>

namespace ckpt::restorer {

// One system call (x86-64 psABI, A.2.1): number in rax, arguments in rdi, rsi, rdx, r10, r8, r9, result in
// rax. The `syscall` instruction overwrites rcx (return address) and r11 (flags); the call itself may change
// any memory.
inline std::int64_t raw_syscall(std::uint64_t number, const std::uint64_t (&arguments)[6]) {
  std::int64_t result;
  register std::uint64_t r10 asm("r10") = arguments[3];
  register std::uint64_t r8 asm("r8") = arguments[4];
  register std::uint64_t r9 asm("r9") = arguments[5];
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(arguments[0]), "S"(arguments[1]), "d"(arguments[2]), "r"(r10), "r"(r8),
                 "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

}  // namespace ckpt::restorer
