// Memory and descriptors of a library that keeps them elsewhere (ckpt/keeper.h): a checkpoint contains only
// where they are, and a restore puts something harmless in their place until the library has them again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/capture/address_ranges.h"
#include "engine/resource/resource_kinds.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct KeptElsewhere {
  AddressRanges ranges = {};  // of whole mappings
  std::vector<int> descriptors = {};
  std::vector<std::string> directories = {};  // whatever is open in them
  std::vector<store::KeptVersion> versions = {};
  std::int32_t thread = 0;  // that brings all of it back; as the program sees it

  bool contains(AddressRange mapping) const;
};

namespace resource {
extern const ResourceKind kKeptElsewhere;
}

}  // namespace ckpt::engine
