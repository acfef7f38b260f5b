// Work of which the parts may be done by several threads.
#pragma once

#include <cstddef>
#include <functional>

namespace ckpt::engine {

// Calls its second argument with each number below the first, by whichever threads, and returns when all have
// returned.
using SideBySide = std::function<void(std::size_t, const std::function<void(std::size_t)>&)>;

}  // namespace ckpt::engine
