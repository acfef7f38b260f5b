#include "engine/capture/path_statuses.h"

#include <cerrno>

namespace ckpt::engine {

const PathStatus& PathStatuses::of(const std::string& path) {
  auto [known, is_new] = known_.try_emplace(path);
  PathStatus& found = known->second;
  if (is_new && ::stat(path.c_str(), &found.status) != 0) found.error = errno;
  return found;
}

}  // namespace ckpt::engine
