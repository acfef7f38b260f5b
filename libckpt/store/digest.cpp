#include "store/digest.h"

#include <xxhash.h>

namespace ckpt::store {

Digest digest_of(std::span<const std::byte> bytes) {
  XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {.low = hash.low64, .high = hash.high64};
}

}  // namespace ckpt::store
