#pragma once

#include <sys/user.h>

namespace ckpt::engine::arch {

// Calls of 32-bit code have other numbers and other registers; none of ours may be made there.
inline bool is_in_32_bit_code(const user_regs_struct& registers) {
  constexpr unsigned long long kUser32Segment = 0x23;  // __USER32_CS
  return registers.cs == kUser32Segment;
}

}  // namespace ckpt::engine::arch
