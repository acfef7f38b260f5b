#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "store/application_files.h"
#include "store/checkpoint_store.h"
#include "store/evacuation.h"
#include "store/page_changes.h"
#include "store/page_tree.h"
#include "store/segment_output.h"

namespace ckpt::store {

class SegmentWriter final : public CheckpointWriter {
 public:
  // `parent` 0: none. Takes the writer's locks, removes what a crashed writer left. Throws if there is a
  // writer.
  SegmentWriter(std::shared_ptr<const ApplicationFiles> files, std::shared_ptr<OutputBuffer> buffer,
                Version parent, Base base);

  void put(SpaceId space, std::uint64_t first_page, std::span<const std::byte> bytes) override;
  void drop(SpaceId space, PageRun run) override;
  Version commit(VersionDescription& description, std::span<const std::byte> image) override;

 private:
  struct Space {
    SpaceRoot parent;  // without root if the parent version lacks it
    PageChanges changes;
    // The parent's leaf looked up last: puts are mostly ascending.
    std::uint64_t leaf_number = ~0ULL;
    std::shared_ptr<const Table> leaf;
  };

  void check_alive() const;
  Space& space(SpaceId id);
  const Table* parent_leaf(Space& space, std::uint64_t leaf);
  void put_in_leaf(Space& space, std::uint64_t leaf, std::size_t first_index,
                   std::span<const std::byte> bytes);
  Reference append_page(std::span<const std::byte> page, const Digest& digest);
  void drop_from_leaf(Space& space, std::uint64_t leaf, PageRun run);
  void clear_leaf(Space& space, std::uint64_t leaf);
  void evacuate_pages(Space& space);
  void evacuate_leaf(Space& space, std::uint64_t leaf, const Table& parent);
  Reference move_page(const Reference& page);
  void complete_spaces();
  Manifest build_manifest(const VersionDescription& description);
  void write_tail(const Manifest& manifest, std::span<const std::byte> image, std::uint64_t node_bytes);
  void fill(VersionDescription& description) const;

  std::shared_ptr<const ApplicationFiles> files_;
  UniqueFd writer_lock_;
  UniqueFd dead_lock_;
  Base base_;
  Version version_ = 0;
  std::optional<OpenVersion> parent_;
  std::unique_ptr<PageTreeReader> parent_tree_;
  std::map<SpaceId, Space> spaces_;
  std::optional<SegmentOutput> output_;  // none: dead or committed
  Evacuation evacuation_;
  std::uint64_t pages_written_ = 0;
  std::uint64_t pages_moved_ = 0;  // of those written: taken over from older segments
  std::uint64_t pages_skipped_ = 0;
};

}  // namespace ckpt::store
