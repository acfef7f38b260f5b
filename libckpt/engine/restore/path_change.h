#pragma once

#include <string>

namespace ckpt::engine {

// Everything at or below `from` is at or below `to`. Both absolute, without a slash at their end.
struct PathChange {
  std::string from;
  std::string to;

  bool operator==(const PathChange&) const = default;
};

}  // namespace ckpt::engine
