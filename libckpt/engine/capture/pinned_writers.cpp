#include "engine/capture/pinned_writers.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace ckpt::engine {

// Descriptors that are closed meanwhile have no link any more.
bool has_pinned_writers(pid_t pid) {
  std::error_code error;
  std::filesystem::directory_iterator descriptors(fmt::format("/proc/{}/fd", pid), error);
  return std::any_of(begin(descriptors), end(descriptors), [](const auto& descriptor) {
    std::error_code gone;
    return std::filesystem::read_symlink(descriptor.path(), gone) == "anon_inode:[io_uring]";
  });
}

bool has_pinned_writers(const image::ProcessT& process) {
  return std::ranges::any_of(process.descriptions, [](const auto& description) {
    return description->detail.type == image::DescriptionDetail::IoUringDetail;
  });
}

}  // namespace ckpt::engine
