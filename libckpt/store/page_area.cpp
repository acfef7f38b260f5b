#include "store/page_area.h"

namespace ckpt::store {

PageArea::PageArea(SegmentOutput& output, const WriteOptions& options, BackgroundPriority& priority)
    : output_(output) {
  if (options.compression == Compression::kNone) return;
  blocks_.emplace(options, priority, [&output](std::span<const std::byte> stored) { output.append(stored); });
}

void PageArea::append(std::span<const std::byte> page) {
  ++page_count_;
  if (blocks_) {
    blocks_->append(page);
  } else {
    output_.append(page);
  }
}

void PageArea::finish(Footer& footer) {
  std::span<const std::byte> table;
  if (blocks_) {
    blocks_->finish();
    output_.pad_to(kNodeUnit);
    table = std::as_bytes(std::span(blocks_->table()));
  }
  footer.page_count = page_count_;
  footer.page_bytes = output_.position();
  footer.table_bytes = table.size();
  footer.table_digest = digest_of(table);
  output_.append(table);
  output_.pad_to(kNodeUnit);
}

}  // namespace ckpt::store
