// Files whose content is part of a checkpoint.
#pragma once

#include <cstdint>
#include <string>

#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct StoredFile {
  const std::string& path;
  std::uint64_t size = 0;                                // bytes
  store::SpaceId space = 0;                              // of its content
  const image::FileAccessT* access = nullptr;            // may be missing
  const image::FileAccessT* directory_access = nullptr;  // may be missing
};

// Makes a file that is gone, and the directories that it is in. It has its name only when it is complete.
void make_file(const StoredFile& file, const store::CheckpointReader& reader);

// Gives a file that is there its content again, in place: others that have it mapped see it.
void put_content_back(const StoredFile& file, const store::CheckpointReader& reader);

}  // namespace ckpt::engine
