// A loop, placed into a stopped program's scratch memory, that makes system calls one after the other.
#pragma once

#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/remote_addr.h"

namespace ckpt::engine::arch {

// One call as the loop reads it; it stores the kernel's value in `result`.
struct LoopCall {
  std::uint64_t number;
  std::uint64_t arguments[6];
  std::int64_t result;
};
static_assert(sizeof(LoopCall) == 64);

// Position-independent, without a stack. After the last call it sleeps in pause(2), again and again.
std::span<const std::byte> call_loop_code();

// `base` with everything set to run the loop at `code` over `count` calls; orig_rax is -1 as for a single
// call.
user_regs_struct registers_for_loop(const user_regs_struct& base, RemoteAddr code, RemoteAddr calls,
                                    std::uint64_t count);

}  // namespace ckpt::engine::arch
