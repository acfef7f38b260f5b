#include "engine/resource/open_for_copy.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "base/error.h"

namespace ckpt::engine::resource {

UniqueFd open_own(const OpenDescription& description, int flags) {
  std::string path = fmt::format("/proc/{}/fd/{}", description.holder(), description.number());
  return UniqueFd(::open(path.c_str(), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

UniqueFd open_for_copy(const OpenDescription& description) {
  UniqueFd own = open_own(description, O_RDONLY);
  if (own) return own;
  int cause = errno;
  if (description.access_mode() == O_RDONLY || description.access_mode() == O_RDWR) {
    return copy_descriptor(description);
  }
  throw Error(fmt::format("{} cannot be read: {}; make it readable or close it before the checkpoint",
                          description.what(), describe_errno(cause)),
              cause);
}

int object_descriptor(const RestoreObjects& objects, std::int32_t index) {
  auto position = static_cast<std::size_t>(index);
  if (index < 0 || position >= objects.object_descriptors.size() ||
      objects.object_descriptors[position] < 0) {
    throw Error(
        fmt::format("object {} of the checkpoint was not created; this is an error in ckptrun", index));
  }
  return objects.object_descriptors[position];
}

}  // namespace ckpt::engine::resource
