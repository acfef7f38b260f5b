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

// Where memory is short.
inline WriterMemory small_memory() {
  constexpr std::size_t kNodeBytes = 8U << 20;
  constexpr std::size_t kKnownPages = 1U << 16;  // of 256 MiB
  constexpr std::size_t kChanges = 64U << 10;
  WriterMemory memory;
  memory.nodes = std::make_shared<NodeCache>(kNodeBytes);
  memory.known_pages = KnownPages(kKnownPages);
  memory.changes_in_memory = kChanges;
  return memory;
}

}  // namespace ckpt::store
