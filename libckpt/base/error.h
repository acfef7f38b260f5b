#pragma once

#include <string>

#include "ckpt/error.h"

namespace ckpt {

// Name and text of an errno, as in "ENOSPC (No space left on device)".
std::string describe_errno(int code);

// Throws Error "<attempt>: <errno text>". `attempt` says what was tried on what: "open /x/y".
[[noreturn]] void throw_errno(const std::string& attempt, int code);
[[noreturn]] void throw_errno(const std::string& attempt);  // uses errno

}  // namespace ckpt
