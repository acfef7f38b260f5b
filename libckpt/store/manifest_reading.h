// The manifests of many versions at once: what a list, a removal and statistics begin with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/application_files.h"
#include "store/manifest.h"

namespace ckpt::store {

struct ReadManifest {
  Version version = 0;
  std::optional<Manifest> manifest;  // none: `damage` says why
  std::uint64_t segment_bytes = 0;
  std::string damage;
};

// Of these visible versions, in their order; by several threads if they are many. Versions that were removed
// meanwhile are left out.
std::vector<ReadManifest> read_manifests(const ApplicationFiles& files, const std::vector<Version>& versions);

}  // namespace ckpt::store
