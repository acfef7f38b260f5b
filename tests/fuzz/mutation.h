#pragma once

#include <random>

#include "fuzz/reader_targets.h"

namespace ckpt::fuzz {

// One of `seeds` after a few changes: bits, numbers that are at limits, pieces that are cut out, repeated or
// come from another seed. The same state of `random` gives the same input.
Bytes mutated(const std::vector<Bytes>& seeds, std::mt19937_64& random);

}  // namespace ckpt::fuzz
