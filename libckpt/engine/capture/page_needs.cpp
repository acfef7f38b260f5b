#include "engine/capture/page_needs.h"

namespace ckpt::engine {

void PageNeeds::leave_out_excluded(ScannedPages& pages, AddressRange mapping) const {
  if (AddressRanges here = slice(excluded, mapping); !here.empty())
    pages.content = subtract(pages.content, here);
}

AddressRanges PageNeeds::of(const ScannedPages& pages, AddressRange mapping) const {
  if (all) return pages.content;
  return intersect(unite(pages.written, slice(must, mapping)), pages.content);
}

}  // namespace ckpt::engine
