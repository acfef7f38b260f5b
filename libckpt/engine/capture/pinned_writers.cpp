#include "engine/capture/pinned_writers.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "engine/capture/memory_map.h"
#include "engine/resource/aio_contexts.h"

namespace ckpt::engine {

namespace {

// A process that has just ended has none.
bool has_aio_context(pid_t pid) try {
  return std::ranges::any_of(read_memory_map(pid),
                             [](const MapEntry& entry) { return entry.path == kAioRingPath; });
} catch (const Error&) {
  return false;
}

}  // namespace

// Descriptors that are closed meanwhile have no link any more.
bool has_pinned_writers(pid_t pid) {
  if (has_aio_context(pid)) return true;
  std::error_code error;
  std::filesystem::directory_iterator descriptors(fmt::format("/proc/{}/fd", pid), error);
  return std::any_of(begin(descriptors), end(descriptors), [](const auto& descriptor) {
    std::error_code gone;
    return std::filesystem::read_symlink(descriptor.path(), gone) == "anon_inode:[io_uring]";
  });
}

bool has_pinned_writers(const image::ProcessT& process) {
  if (!process.aio_contexts.empty()) return true;
  return std::ranges::any_of(process.descriptions, [](const auto& description) {
    return description->detail.type == image::DescriptionDetail::IoUringDetail;
  });
}

}  // namespace ckpt::engine
