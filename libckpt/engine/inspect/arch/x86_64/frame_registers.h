// The registers that unwinding begins with, by their DWARF numbers (System V psABI, x86-64, figure 3.36).
#pragma once

#include <sys/user.h>

#include <array>
#include <cstdint>

namespace ckpt::engine::arch {

inline constexpr int kFrameRegisterCount = 17;

inline std::array<std::uint64_t, kFrameRegisterCount> frame_registers(const user_regs_struct& r) {
  return {r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8,
          r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rip};
}

}  // namespace ckpt::engine::arch
