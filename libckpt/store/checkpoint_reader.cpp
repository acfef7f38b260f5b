#include "store/checkpoint_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "store/page_gather.h"
#include "store/page_runs.h"
#include "store/store_file.h"
#include "store/tree_compare.h"

namespace ckpt::store {
namespace {

constexpr std::size_t kPartPages = 8192;

bool continues(const StoredRun& run, std::uint64_t page, const Reference& reference) {
  return run.run.first_page + run.run.page_count == page && run.segment == reference.segment &&
         run.unit + run.run.page_count == reference.unit;
}

}  // namespace

SegmentReader::SegmentReader(const OpenVersion& open, std::shared_ptr<NodeCache> nodes,
                             std::shared_ptr<TableCache> tables)
    : segment_(open.segment),
      manifest_(open.manifest),
      tree_(open.segments, std::move(nodes), std::move(tables)) {}

std::span<const std::byte> SegmentReader::image() const {
  std::call_once(image_once_, [this] { image_ = segment_->read_image(); });
  return image_;
}

std::vector<PageRun> SegmentReader::runs(SpaceId space) const {
  std::vector<PageRun> result;
  const SpaceRoot* root = manifest_.find_space(space);
  if (root == nullptr) return result;
  tree_.visit_leaves(*root, 0, kPageNumberLimit / kFanout - 1, [&](std::uint64_t leaf, const Table& table) {
    for (std::size_t i = 0; i < kFanout; ++i) {
      if (table[i].present()) append_page(result, leaf * kFanout + i);
    }
  });
  return result;
}

std::vector<Reference> SegmentReader::find_pages(SpaceId space, PageRun run) const {
  std::vector<Reference> pages(run.page_count);
  const SpaceRoot* root = manifest_.find_space(space);
  if (root == nullptr) return pages;
  std::uint64_t last_page = run.first_page + run.page_count - 1;
  auto take = [&](std::uint64_t leaf, const Table& table) {
    std::uint64_t begin = std::max(leaf * kFanout, run.first_page);
    std::uint64_t end = std::min(leaf * kFanout + kFanout - 1, last_page) + 1;
    for (std::uint64_t page = begin; page < end; ++page) pages[page - run.first_page] = table[page % kFanout];
  };
  std::uint64_t first_leaf = run.first_page / kFanout;
  if (first_leaf != last_page / kFanout) {
    tree_.visit_leaves(*root, first_leaf, last_page / kFanout, take);
  } else if (auto leaf = tree_.find_leaf(*root, first_leaf)) {
    take(first_leaf, *leaf);
  }
  return pages;
}

std::vector<Reference> SegmentReader::find_present_pages(SpaceId space, PageRun run) const {
  std::vector<Reference> pages = find_pages(space, run);
  auto missing = std::ranges::find_if_not(pages, &Reference::present);
  if (missing != pages.end()) {
    throw Error(fmt::format("{} has no page {:#x} in space {}; read only what runs() lists", segment_->path(),
                            run.first_page + static_cast<std::uint64_t>(missing - pages.begin()), space));
  }
  return pages;
}

void SegmentReader::read_part(SpaceId space, PageRun part, std::span<const Reference> pages,
                              std::span<std::byte> out) const {
  gather_pages(tree_.segments(), pages, out,
               {.path = segment_->path(),
                .version = manifest_.description.version,
                .space = space,
                .first_page = part.first_page});
}

// So that memory stays bounded.
template <typename ReadPart>
void SegmentReader::read_in_parts(PageRun run, std::span<std::byte> out, const ReadPart& read_part) const {
  if (run.page_count == 0) return;
  if (run.first_page >= kPageNumberLimit || run.page_count > kPageNumberLimit - run.first_page ||
      out.size() != run.page_count * kPageBytes) {
    throw Error(fmt::format("{} pages from {:#x} do not fit a buffer of {} bytes; pass one of the same size",
                            run.page_count, run.first_page, out.size()));
  }
  for (PageRun part{.first_page = run.first_page, .page_count = 0}; !out.empty();
       part.first_page += part.page_count) {
    part.page_count = std::min(kPartPages, out.size() / kPageBytes);
    read_part(part, out.first(part.page_count * kPageBytes));
    out = out.subspan(part.page_count * kPageBytes);
  }
}

void SegmentReader::read(SpaceId space, PageRun run, std::span<std::byte> out) const {
  read_in_parts(run, out, [&](PageRun part, std::span<std::byte> bytes) {
    read_part(space, part, find_present_pages(space, part), bytes);
  });
}

std::uint64_t SegmentReader::read_or_zero(SpaceId space, PageRun run, std::span<std::byte> out) const {
  std::uint64_t present_count = 0;
  read_in_parts(run, out, [&](PageRun part, std::span<std::byte> bytes) {
    std::vector<Reference> pages = find_pages(space, part);
    for (std::size_t begin = 0, end = 0; begin < pages.size(); begin = end) {
      bool present = pages[begin].present();
      while (end < pages.size() && pages[end].present() == present) ++end;
      std::span<std::byte> target = bytes.subspan(begin * kPageBytes, (end - begin) * kPageBytes);
      if (present) {
        present_count += end - begin;
        read_part(space, {.first_page = part.first_page + begin, .page_count = end - begin},
                  std::span(pages).subspan(begin, end - begin), target);
      } else {
        std::ranges::fill(target, std::byte{});
      }
    }
  });
  return present_count;
}

std::vector<StoredRun> SegmentReader::stored_runs(SpaceId space) const {
  std::vector<StoredRun> result;
  const SpaceRoot* root = manifest_.find_space(space);
  if (root == nullptr) return result;
  tree_.visit_leaves(*root, 0, kPageNumberLimit / kFanout - 1, [&](std::uint64_t leaf, const Table& table) {
    for (std::size_t i = 0; i < kFanout; ++i) {
      if (!table[i].present()) continue;
      std::uint64_t page = leaf * kFanout + i;
      if (!result.empty() && continues(result.back(), page, table[i])) {
        ++result.back().run.page_count;
      } else {
        result.push_back({.run = {.first_page = page, .page_count = 1},
                          .segment = table[i].segment,
                          .unit = table[i].unit});
      }
    }
  });
  return result;
}

std::vector<SpaceId> SegmentReader::spaces() const {
  std::vector<SpaceId> ids;
  ids.reserve(manifest_.spaces.size());
  for (const SpaceRoot& space : manifest_.spaces) ids.push_back(space.id);
  return ids;
}

std::vector<PageRun> SegmentReader::differing(SpaceId space, const CheckpointReader& other) const {
  const auto& reader = dynamic_cast<const SegmentReader&>(other);
  return differing_pages({.tree = &tree_, .root = manifest_.find_space(space)},
                         {.tree = &reader.tree_, .root = reader.manifest_.find_space(space)});
}

std::vector<PageRun> SegmentReader::differing(SpaceId one, SpaceId other) const {
  return differing_pages({.tree = &tree_, .root = manifest_.find_space(one)},
                         {.tree = &tree_, .root = manifest_.find_space(other)});
}

}  // namespace ckpt::store
