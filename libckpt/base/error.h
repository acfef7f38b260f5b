#pragma once

#include <stdexcept>
#include <string>
#include <system_error>

namespace ckpt {

// What hosted code throws. `what()` is one line: cause first, then, after a semicolon, what to do.
// `code()` is the errno behind it, 0 if none.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, int code = 0) : std::runtime_error(message), code_(code) {}

  int code() const noexcept { return code_; }

 private:
  int code_;
};

// Name and text of an errno, as in "ENOSPC (No space left on device)".
std::string describe_errno(int code);

// Throws Error "<attempt>: <errno text>". `attempt` says what was tried on what: "open /x/y".
[[noreturn]] void throw_errno(const std::string& attempt, int code);
[[noreturn]] void throw_errno(const std::string& attempt);  // uses errno

}  // namespace ckpt
