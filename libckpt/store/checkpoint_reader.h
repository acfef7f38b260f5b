#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "store/application_files.h"
#include "store/checkpoint_store.h"
#include "store/page_tree.h"

namespace ckpt::store {

class SegmentReader final : public CheckpointReader {
 public:
  explicit SegmentReader(const OpenVersion& open);

  const VersionDescription& description() const override { return manifest_.description; }
  std::span<const std::byte> image() const override { return image_; }
  std::vector<PageRun> runs(SpaceId space) const override;
  std::vector<StoredRun> stored_runs(SpaceId space) const override;
  void read(SpaceId space, PageRun run, std::span<std::byte> out) const override;
  std::vector<SpaceId> spaces() const override;
  std::vector<PageRun> differing(SpaceId space, const CheckpointReader& other) const override;

 private:
  std::vector<Reference> find_pages(SpaceId space, PageRun run) const;

  std::shared_ptr<const Segment> segment_;
  Manifest manifest_;
  PageTreeReader tree_;
  std::vector<std::byte> image_;
};

}  // namespace ckpt::store
