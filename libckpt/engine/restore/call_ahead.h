// The system call that a thread of an image is about to make.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>

#include "image_generated.h"

namespace ckpt::engine {

struct CallAhead {
  long number = 0;
  std::array<std::uint64_t, 6> arguments{};
};

// Empty if the next instruction of the thread is not a system call. `pid` has the program's memory.
std::optional<CallAhead> call_ahead(pid_t pid, const image::ThreadT& thread);

}  // namespace ckpt::engine
