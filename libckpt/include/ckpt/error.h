#pragma once

#include <stdexcept>
#include <string>

namespace ckpt {

// What the C++ libraries throw. `what()` is one line: cause first, then, after a semicolon, what to do.
// `code()` is the errno behind it, 0 if none.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, int code = 0) : std::runtime_error(message), code_(code) {}

  int code() const noexcept { return code_; }

 private:
  int code_;
};

}  // namespace ckpt
