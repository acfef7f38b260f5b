// Compares a version in the store with a full copy of the program at the same moment: every mapping, every
// byte.
#pragma once

#include <optional>
#include <string>

#include "snapshot.h"
#include "store/checkpoint_store.h"

namespace ckpt::fuzz {

struct CheckTotals {
  std::uint64_t pages_compared = 0;
  std::uint64_t mappings_compared = 0;
};

// The first difference, or nothing. What is allowed to differ: mappings that the kernel makes, the engine's
// own scratch mapping, and the restartable-sequence areas of threads, which the kernel writes whenever it
// likes.
std::optional<std::string> difference(const Snapshot& snapshot, const store::CheckpointReader& version,
                                      CheckTotals& totals);

}  // namespace ckpt::fuzz
