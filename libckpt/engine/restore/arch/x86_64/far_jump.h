// A jump to anywhere, to be put where a function begins.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ckpt::engine::arch {

inline constexpr std::size_t kFarJumpBytes = 13;

// movabs $target, %r11; jmp *%r11. No argument is passed in r11, and no caller expects it back (System V
// ABI, 3.2.1).
inline std::array<std::byte, kFarJumpBytes> far_jump(std::uint64_t target) {
  std::array<std::byte, kFarJumpBytes> code{std::byte{0x49}, std::byte{0xbb}};
  std::memcpy(&code[2], &target, sizeof target);
  code[10] = std::byte{0x41};
  code[11] = std::byte{0xff};
  code[12] = std::byte{0xe3};
  return code;
}

}  // namespace ckpt::engine::arch
