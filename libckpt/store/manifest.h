#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"
#include "store/segment_format.h"

namespace ckpt::store {

struct SegmentUse {
  std::uint32_t segment = 0;
  std::uint64_t nodes = 0;  // tree nodes of this version that are stored there, deltas counted one by one
  std::uint64_t pages = 0;
};

struct SpaceRoot {
  SpaceId id = 0;
  std::uint64_t page_count = 0;
  Reference root;
};

struct Manifest {
  VersionDescription description;
  std::vector<SegmentUse> segments;  // ascending; the version's own segment is always in it
  std::vector<SpaceRoot> spaces;     // ascending

  const SpaceRoot* find_space(SpaceId id) const;
};

std::vector<std::byte> encode_manifest(const Manifest& manifest);

// Throws Error naming `path` if the bytes are not a valid manifest of `version`.
Manifest decode_manifest(std::span<const std::byte> bytes, Version version, const std::string& path);

}  // namespace ckpt::store
