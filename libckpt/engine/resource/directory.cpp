#include "engine/resource/directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "base/error.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

bool matches(const SaveState&, const OpenDescription& description) {
  return S_ISDIR(description.status.st_mode);
}

image::DescriptionDetailUnion save(SaveState&, const OpenDescription& description) {
  struct stat named {};
  if (::stat(description.link.c_str(), &named) != 0 || named.st_dev != description.status.st_dev ||
      named.st_ino != description.status.st_ino) {
    throw Error(
        fmt::format("descriptor {} is a directory that was removed or replaced ({}); close it before the "
                    "checkpoint",
                    description.number(), description.link));
  }
  image::DirectoryDetailT detail;
  detail.path = description.link;
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT& description) {
  const std::string& path = description.detail.AsDirectoryDetail()->path;
  struct stat now {};
  if (::stat(path.c_str(), &now) == 0 && !S_ISDIR(now.st_mode)) {
    return fmt::format("{} is no longer a directory", path);
  }
  return access_problem(path, description);
}

UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  const std::string& path = description.detail.AsDirectoryDetail()->path;
  UniqueFd fd = open_again(path, description, O_DIRECTORY);
  seek_to_saved_offset(fd.get(), description, path);
  return fd;
}

}  // namespace

const ResourceKind kDirectory{
    "directory", image::DescriptionDetail::DirectoryDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
