// The page data of the segment that is being written: as it is, or in compressed blocks with their table.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "store/block_pipeline.h"
#include "store/segment_output.h"

namespace ckpt::store {

class PageArea {
 public:
  // `output` must stand at its beginning and outlive this.
  PageArea(SegmentOutput& output, const WriteOptions& options, BackgroundPriority& priority);

  std::uint64_t page_count() const { return page_count_; }
  void append(std::span<const std::byte> page);
  // Writes what is left of the pages, and the table. Fills the fields of `footer` that describe them. Nothing
  // may be appended after it.
  void finish(Footer& footer);

 private:
  SegmentOutput& output_;
  std::optional<BlockPipeline> blocks_;  // none: pages are stored as they are
  std::uint64_t page_count_ = 0;
};

}  // namespace ckpt::store
