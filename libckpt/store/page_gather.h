// Reads pages that lie scattered over segments into one buffer, with as few and as large reads as possible,
// and verifies each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "store/segment.h"

namespace ckpt::store {

// What messages about damage name.
struct PageNames {
  const std::string& path;  // of the version's segment
  Version version;
  SpaceId space;
  std::uint64_t first_page;  // the number of pages[0]
};

// out.size() == pages.size() * kPageBytes; all pages are present.
void gather_pages(const SegmentSet& segments, std::span<const Reference> pages, std::span<std::byte> out,
                  const PageNames& names);

}  // namespace ckpt::store
