#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "store/application_files.h"
#include "store/checkpoint_store.h"
#include "store/page_tree.h"

namespace ckpt::store {

class SegmentReader final : public CheckpointReader {
 public:
  // `nodes` and `tables` may be nullptr.
  SegmentReader(const OpenVersion& open, std::shared_ptr<NodeCache> nodes,
                std::shared_ptr<TableCache> tables);

  const VersionDescription& description() const override { return manifest_.description; }
  std::span<const std::byte> image() const override;
  std::vector<PageRun> runs(SpaceId space) const override;
  std::vector<StoredRun> stored_runs(SpaceId space) const override;
  void read(SpaceId space, PageRun run, std::span<std::byte> out) const override;
  std::vector<SpaceId> spaces() const override;
  std::vector<PageRun> differing(SpaceId space, const CheckpointReader& other) const override;
  std::vector<PageRun> differing(SpaceId one, SpaceId other) const override;
  std::uint64_t read_or_zero(SpaceId space, PageRun run, std::span<std::byte> out) const override;

 private:
  std::vector<Reference> find_pages(SpaceId space, PageRun run) const;  // absent ones too
  std::vector<Reference> find_present_pages(SpaceId space, PageRun run) const;
  void read_part(SpaceId space, PageRun part, std::span<const Reference> pages,
                 std::span<std::byte> out) const;
  template <typename ReadPart>
  void read_in_parts(PageRun run, std::span<std::byte> out, const ReadPart& read_part) const;

  std::shared_ptr<const Segment> segment_;
  Manifest manifest_;
  PageTreeReader tree_;
  // Read when it is asked for: a heap opens each of its commits, and knows what it has put there.
  mutable std::once_flag image_once_;
  mutable std::vector<std::byte> image_;
};

}  // namespace ckpt::store
