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
#include "store/equal_pages.h"
#include "store/evacuation.h"
#include "store/page_area.h"
#include "store/page_tree.h"
#include "store/segment_output.h"
#include "store/space_changes.h"
#include "store/writer_memory.h"

namespace ckpt::store {

class SegmentWriter final : public CheckpointWriter {
 public:
  // `parent` 0: none. Takes the writer's locks, removes what a crashed writer left. Throws if there is a
  // writer.
  SegmentWriter(std::shared_ptr<const ApplicationFiles> files, std::shared_ptr<WriterMemory> memory,
                Version parent, Base base, const WriteOptions& options);

  void put(SpaceId space, std::uint64_t first_page, std::span<const std::byte> bytes) override;
  void drop(SpaceId space, PageRun run) override;
  void keep_only(SpaceId space, std::span<const PageRun> present) override;
  std::vector<SpaceId> parent_spaces() const override;
  PutPlace find_put(SpaceId space, std::uint64_t page) override;
  std::shared_ptr<const PutPages> put_pages() override;
  void hurry() override { priority_.hurry(); }
  Version commit(VersionDescription& description, std::span<const std::byte> image) override;

 private:
  void check_alive() const;
  SpaceChanges& space(SpaceId id);
  void put_in_leaf(SpaceChanges& space, std::uint64_t leaf, std::size_t first_index,
                   std::span<const std::byte> bytes);
  void find_equal_pages(const ApplicationListing& listing);
  std::size_t add_new_pages(LeafChanges& changes, std::size_t first_index, std::span<const std::byte> bytes,
                            std::span<const Digest> digests);
  Reference append_page(std::span<const std::byte> page, const Digest& digest);
  void evacuate_pages(SpaceChanges& space);
  std::vector<std::uint64_t> leaves_to_look_at(const SpaceChanges& space) const;
  void evacuate_leaf(const Table& parent, LeafChanges& changes);
  void count_changes(std::size_t count);
  Reference move_page(const Reference& page);
  void complete_spaces();
  Manifest build_manifest(const VersionDescription& description);
  void write_tail(const Manifest& manifest, std::span<const std::byte> image, Footer& footer);
  void publish(VersionDescription& description, std::span<const std::byte> image);
  void end();
  // What fails half-way leaves nothing to go on with.
  template <typename Action>
  void dying_on_error(const Action& action) {
    try {
      action();
    } catch (...) {
      end();
      throw;
    }
  }
  void fill(VersionDescription& description) const;
  void open_parent(Version parent);
  void remember(const Footer& footer, Manifest manifest);

  std::shared_ptr<const ApplicationFiles> files_;
  std::shared_ptr<WriterMemory> memory_;
  UniqueFd writer_lock_;
  UniqueFd dead_lock_;
  Base base_;
  BackgroundPriority priority_;
  Version version_ = 0;
  std::optional<OpenVersion> parent_;
  std::unique_ptr<PageTreeReader> parent_tree_;
  ChangeSpill spill_;
  std::size_t changes_in_memory_ = 0;
  std::map<SpaceId, SpaceChanges> spaces_;
  std::optional<SegmentOutput> output_;       // none: dead or committed
  std::optional<PageArea> pages_;             // into output_
  std::optional<EqualPages> equal_;           // none: pages are written wherever they are
  std::vector<Digest> digests_;               // of pages that are being put
  std::map<std::uint64_t, Reference> moved_;  // by Reference::place(); what evacuation took over
  bool compressed_;
  bool is_read_back_ = false;
  std::uint64_t nodes_begin_ = 0;  // in output_, once the pages are finished
  Evacuation evacuation_;
  std::uint64_t pages_moved_ = 0;  // of those written: taken over from older segments
  std::uint64_t pages_skipped_ = 0;
};

}  // namespace ckpt::store
