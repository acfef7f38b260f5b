// Pages of a program that a version needs, and the ways to get them to the store.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/capture/address_ranges.h"
#include "engine/capture/memory_reader.h"
#include "engine/capture/page_buffer.h"
#include "engine/capture/pause_threads.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct PageTask {
  AddressRange range;  // where the program has the pages
  store::SpaceId space = 0;
  std::uint64_t first_page = 0;  // of the space
  bool may_end_early = false;  // pages behind the end of a mapped file cannot be read, by the program neither
  bool in_snapshot = false;    // a copy-on-write snapshot of the program has them too
};

using PageTasks = std::vector<PageTask>;

std::uint64_t total_bytes(const PageTasks& tasks);

// What to do with pages that cannot be read.
enum class Unreadable {
  kError,  // Error, unless the task may end early
  kSkip    // the program runs and may have unmapped them meanwhile
};

// Reads all tasks and gives them to `writer`, a few MiB at a time. Returns pages that turned out to be guards
// (MADV_GUARD_INSTALL), which have no content.
AddressRanges store_pages(const PageTasks& tasks, MemoryReader& reader, store::CheckpointWriter& writer,
                          Unreadable unreadable);

// Copies all tasks into `buffer`, by several threads where there is much; what does not fit goes to `writer`
// at once. Returns guards likewise.
AddressRanges copy_pages(const PageTasks& tasks, MemoryReader& reader, PageBuffer& buffer,
                         store::CheckpointWriter& writer, PauseThreads& threads);

}  // namespace ckpt::engine
