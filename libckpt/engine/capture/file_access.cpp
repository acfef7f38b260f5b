#include "engine/capture/file_access.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/error.h"

namespace ckpt::engine {

std::unique_ptr<image::FileAccessT> access_to(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw_errno(fmt::format("examine {}", path));
  auto access = std::make_unique<image::FileAccessT>();
  access->mode = status.st_mode & 07777U;
  access->uid = status.st_uid;
  access->gid = status.st_gid;
  return access;
}

}  // namespace ckpt::engine
