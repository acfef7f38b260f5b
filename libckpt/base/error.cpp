#include "base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace ckpt {

std::string describe_errno(int code) {
  const char* name = strerrorname_np(code);
  return fmt::format("{} ({})", strerrordesc_np(code) != nullptr ? strerrordesc_np(code) : "unknown error",
                     name != nullptr ? name : std::to_string(code));
}

void throw_errno(const std::string& attempt, int code) {
  throw Error(fmt::format("{}: {}", attempt, describe_errno(code)), code);
}

void throw_errno(const std::string& attempt) { throw_errno(attempt, errno); }

}  // namespace ckpt
