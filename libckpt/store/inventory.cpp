#include "store/inventory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "base/error.h"
#include "store/manifest_reading.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

constexpr std::uint64_t kDiskBlock = 512;  // of st_blocks

// Space that was given back from inside of a file counts no more.
std::uint64_t disk_bytes(const ApplicationFiles& files, const std::string& file) {
  struct stat status {};
  bool there = system_calls().fstatat(files.directory(), file.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  return there ? static_cast<std::uint64_t>(status.st_blocks) * kDiskBlock : 0;
}

std::uint64_t pages_in(const Manifest& manifest) {
  return std::accumulate(manifest.spaces.begin(), manifest.spaces.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const SpaceRoot& space) { return sum + space.page_count; });
}

}  // namespace

std::uint64_t Inventory::content_bytes() const {
  return std::accumulate(content_pages.begin(), content_pages.end(), std::uint64_t{0}) * kPageBytes;
}

std::uint64_t Inventory::saved_bytes() const {
  return content_bytes() > stored_bytes ? content_bytes() - stored_bytes : 0;
}

Inventory take_inventory(const Application& application) {
  ApplicationFiles files = files_of(application);
  ApplicationListing listing = files.list();
  Inventory inventory;
  for (ReadManifest& one : read_manifests(files, listing.visible)) {
    if (!one.manifest) {
      inventory.damaged.push_back(std::move(one.damage));
      continue;
    }
    inventory.content_pages.push_back(pages_in(*one.manifest));
    inventory.versions.push_back(
        {.description = std::move(one.manifest->description), .segment_bytes = one.segment_bytes});
  }
  for (Version version : listing.visible) inventory.stored_bytes += disk_bytes(files, visible_name(version));
  for (Version version : listing.dead) inventory.stored_bytes += disk_bytes(files, dead_name(version));
  return inventory;
}

}  // namespace ckpt::store
