// A segment file opened for reading, its footer checked. Immutable, so it may be shared between threads.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "store/block_cache.h"
#include "store/block_table.h"
#include "store/direct_file.h"
#include "store/manifest.h"
#include "store/read_buffers.h"
#include "store/segment_format.h"

namespace ckpt::store {

// What the readers of a set of segments share.
struct ReadMemory {
  BlockCache blocks;
  ReadBuffers buffers;
};

struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

class Segment {
 public:
  // `fd` is the open file at `path`, which should be the segment of `version`. Checks type, owner,
  // permissions, framing and footer; throws Error.
  Segment(UniqueFd fd, std::string path, Version version);

  // The same for a segment that this process has just written, whose footer is known.
  Segment(UniqueFd fd, std::string path, const Footer& footer);

  const std::string& path() const { return path_; }
  // Whether `status` is that of this very file.
  bool is_file(const struct stat& status) const;
  Version version() const { return footer_.version; }
  std::uint64_t file_bytes() const { return footer_.file_bytes; }
  std::uint64_t page_count() const { return footer_.page_count; }
  std::uint64_t node_bytes() const { return footer_.node_bytes; }

  Manifest read_manifest() const;
  std::vector<std::byte> read_image() const;
  // `out` is filled from the page or node area; the range must lie within it (callers check it). Pages are
  // not verified.
  void read_pages(std::uint64_t first_unit, std::span<std::byte> out, ReadMemory& memory) const;
  void read_nodes(std::uint64_t offset, std::span<std::byte> out) const;
  // What of the file a segment needs that no version is read from any more: all but its process image and the
  // pages that are not `alive` (by unit). Ascending; compressed pages stay in whole blocks.
  std::vector<ByteRange> needed_ranges(const std::vector<bool>& alive) const;

 private:
  std::uint64_t node_offset() const { return footer_.page_bytes + align_up(footer_.table_bytes, kNodeUnit); }
  std::uint64_t manifest_offset() const { return node_offset() + footer_.node_bytes; }
  std::uint64_t image_offset() const {
    return manifest_offset() + align_up(footer_.manifest_bytes, kNodeUnit);
  }
  std::uint64_t check_file();
  bool pages_are_plausible(std::uint64_t file_bytes) const;
  void check_footer(Version version, std::uint64_t file_bytes) const;
  std::vector<std::byte> read_checked(std::uint64_t offset, std::uint64_t size, const Digest& digest,
                                      const char* what) const;

  const BlockTable& block_table() const;
  ByteRange range_of_unit(std::uint64_t unit) const;
  void read_blocks(std::uint64_t first_unit, std::span<std::byte> out, ReadMemory& memory) const;
  void unpack_into(std::uint64_t number, const StoredBlock& block, std::span<const std::byte> stored,
                   std::uint64_t first_unit, std::span<std::byte> out, ReadMemory& memory) const;
  void unpack(std::uint64_t number, const StoredBlock& block, std::span<const std::byte> stored,
              std::span<std::byte> out) const;

  UniqueFd fd_;
  std::string path_;
  DirectFile direct_;
  Footer footer_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  mutable std::once_flag table_read_;
  mutable std::optional<BlockTable> table_;
};

// All segments that one version refers to.
class SegmentSet {
 public:
  // Ascending by version.
  explicit SegmentSet(std::vector<std::shared_ptr<const Segment>> segments)
      : segments_(std::move(segments)) {}

  const Segment* find(std::uint32_t version) const { return find_shared(version).get(); }
  std::shared_ptr<const Segment> find_shared(std::uint32_t version) const;  // nullptr: not in it
  void read_pages(const Segment& segment, std::uint64_t first_unit, std::span<std::byte> out) const {
    segment.read_pages(first_unit, out, *memory_);
  }
  ReadBuffers& buffers() const { return memory_->buffers; }
  const std::vector<std::shared_ptr<const Segment>>& all() const { return segments_; }

 private:
  std::vector<std::shared_ptr<const Segment>> segments_;
  std::unique_ptr<ReadMemory> memory_ = std::make_unique<ReadMemory>();
};

}  // namespace ckpt::store
