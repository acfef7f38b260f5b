// What the writers of one application hand on to each other, so that a checkpoint reads nothing from disk and
// touches no fresh memory for what the one before it had at hand. Used by one writer at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "store/application_files.h"
#include "store/known_pages.h"
#include "store/node_cache.h"
#include "store/write_queue.h"

namespace ckpt::store {

struct WriterMemory {
  std::shared_ptr<OutputBuffers> buffers = std::make_shared<OutputBuffers>();
  std::shared_ptr<NodeCache> nodes = std::make_shared<NodeCache>();
  KnownPages known_pages = {};
  std::size_t changes_in_memory = 384U << 10;  // of pages, 32 bytes each
  std::optional<OpenVersion> last;             // mostly the parent of the next one
};

}  // namespace ckpt::store
