// Lists in messages.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace ckpt {

// "a, b, c and 4 more": the first `most` of them, and how many more there are.
std::string list_some(std::span<const std::string> names, std::size_t most);

}  // namespace ckpt
