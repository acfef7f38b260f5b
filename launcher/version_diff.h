// What differs between the memory of two versions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::launcher {

enum class MappingFate { kKept, kAdded, kRemoved };

struct MappingDifference {
  MappingFate fate = MappingFate::kKept;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::string name;                 // of the file, or as in /proc/PID/maps; may be empty
  std::uint64_t changed_pages = 0;  // whose stored content differs
};

struct VersionDifference {
  std::vector<MappingDifference> mappings;  // those with any difference, ascending
  std::uint64_t changed_pages = 0;          // in all spaces
};

// Throws Error for images that are damaged.
VersionDifference difference(const store::CheckpointReader& from, const store::CheckpointReader& to);

}  // namespace ckpt::launcher
