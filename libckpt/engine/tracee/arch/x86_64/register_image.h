#pragma once

#include <sys/user.h>

#include <cstdint>
#include <span>
#include <vector>

namespace ckpt::engine::arch {

// General registers as the image stores them: struct user_regs_struct, field by field.
std::vector<std::uint64_t> to_image(const user_regs_struct& registers);
user_regs_struct from_image(std::span<const std::uint64_t> values);  // throws Error if their number is wrong

}  // namespace ckpt::engine::arch
