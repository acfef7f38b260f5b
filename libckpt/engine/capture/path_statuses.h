// stat(2) of paths, each asked for once: for the time that everything stands still.
#pragma once

#include <sys/stat.h>

#include <string>
#include <unordered_map>

namespace ckpt::engine {

struct PathStatus {
  int error = 0;  // errno; else 0, and `status` is set
  struct stat status {};
};

class PathStatuses {
 public:
  const PathStatus& of(const std::string& path);

 private:
  std::unordered_map<std::string, PathStatus> known_;
};

}  // namespace ckpt::engine
