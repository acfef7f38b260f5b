#include "store/segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "store/checkpoint_store.h"
#include "store/page_codec.h"
#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

constexpr std::size_t kReadBytes = 1U << 20;

// Copies those pages of a block that `out`, which begins with `first_unit`, covers.
void copy_overlap(std::uint64_t block, std::span<const std::byte> bytes, std::uint64_t first_unit,
                  std::span<std::byte> out) {
  std::uint64_t block_unit = block * kBlockPages;
  std::uint64_t begin = std::max(block_unit, first_unit);
  std::uint64_t end = std::min(block_unit + bytes.size() / kPageBytes, first_unit + out.size() / kPageBytes);
  std::memcpy(out.data() + (begin - first_unit) * kPageBytes,
              bytes.data() + (begin - block_unit) * kPageBytes, (end - begin) * kPageBytes);
}

}  // namespace

Segment::Segment(UniqueFd fd, std::string path, Version version)
    : fd_(std::move(fd)), path_(std::move(path)), direct_(fd_.get(), path_) {
  std::uint64_t file_bytes = check_file();
  if (file_bytes < sizeof(Footer)) throw damaged(path_, fmt::format("it has only {} bytes", file_bytes));
  read_exactly(fd_.get(), std::as_writable_bytes(std::span(&footer_, 1)), file_bytes - sizeof(Footer), path_);
  check_footer(version, file_bytes);
}

Segment::Segment(UniqueFd fd, std::string path, const Footer& footer)
    : fd_(std::move(fd)), path_(std::move(path)), direct_(fd_.get(), path_), footer_(footer) {
  check_footer(footer.version, check_file());
}

std::uint64_t Segment::check_file() {
  struct stat status {};
  if (system_calls().fstat(fd_.get(), &status) != 0) throw_errno(fmt::format("fstat {}", path_));
  if (!S_ISREG(status.st_mode)) throw damaged(path_, "it is not a regular file");
  check_private(status, path_);
  device_ = status.st_dev;
  inode_ = status.st_ino;
  return static_cast<std::uint64_t>(status.st_size);
}

bool Segment::is_file(const struct stat& status) const {
  return status.st_dev == device_ && status.st_ino == inode_ &&
         static_cast<std::uint64_t>(status.st_size) == footer_.file_bytes;
}

void Segment::check_footer(Version version, std::uint64_t file_bytes) const {
  auto bytes = std::as_bytes(std::span(&footer_, 1));
  if (footer_.magic != kSegmentMagic)
    throw damaged(path_, "it does not end with a segment footer (cut short?)");
  if (footer_.format_version != kFormatVersion) {
    throw Error(fmt::format("{} has format version {}, this program reads {}; use the program that wrote it",
                            path_, footer_.format_version, kFormatVersion));
  }
  if (digest_of(bytes.first(offsetof(Footer, footer_digest))) != footer_.footer_digest) {
    throw damaged(path_, "its footer does not match its digest");
  }
  if (footer_.version != version)
    throw damaged(path_, fmt::format("it is the segment of version {}", footer_.version));
  // Each length is bounded by the file's before they are added, so the sum cannot wrap around.
  bool bounded = footer_.file_bytes == file_bytes && footer_.footer_bytes == sizeof(Footer) &&
                 footer_.page_bytes <= file_bytes && footer_.node_bytes <= file_bytes &&
                 footer_.manifest_bytes <= std::min(file_bytes, kMaxManifestBytes) &&
                 footer_.image_bytes <= std::min(file_bytes, kMaxImageBytes);
  if (!bounded || !pages_are_plausible(file_bytes) || footer_.node_bytes % kNodeUnit != 0 ||
      image_offset() + footer_.image_bytes > file_bytes - sizeof(Footer)) {
    throw damaged(path_, "the lengths in its footer do not fit the file");
  }
}

bool Segment::pages_are_plausible(std::uint64_t file_bytes) const {
  if (footer_.table_bytes > file_bytes) return false;
  if (footer_.table_bytes == 0)
    return footer_.page_bytes % kPageBytes == 0 && footer_.page_count == footer_.page_bytes / kPageBytes;
  return footer_.page_bytes % kNodeUnit == 0 && footer_.table_bytes % sizeof(BlockEntry) == 0 &&
         block_count(footer_.page_count) == footer_.table_bytes / sizeof(BlockEntry);
}

std::vector<std::byte> Segment::read_checked(std::uint64_t offset, std::uint64_t size, const Digest& digest,
                                             const char* what) const {
  std::vector<std::byte> bytes(size);
  read_exactly(fd_.get(), bytes, offset, path_);
  if (digest_of(bytes) != digest) throw damaged(path_, fmt::format("its {} does not match its digest", what));
  return bytes;
}

Manifest Segment::read_manifest() const {
  auto bytes = read_checked(manifest_offset(), footer_.manifest_bytes, footer_.manifest_digest, "manifest");
  Manifest manifest = decode_manifest(bytes, footer_.version, path_);
  manifest.description.stats.bytes_written = footer_.file_bytes;  // known only after the manifest was written
  return manifest;
}

std::vector<std::byte> Segment::read_image() const {
  return read_checked(image_offset(), footer_.image_bytes, footer_.image_digest, "process image");
}

void Segment::read_pages(std::uint64_t first_unit, std::span<std::byte> out, ReadMemory& memory) const {
  if (footer_.table_bytes != 0) {
    read_blocks(first_unit, out, memory);
    return;
  }
  direct_.read(out, first_unit * kPageBytes, memory.buffers);
}

void Segment::read_nodes(std::uint64_t offset, std::span<std::byte> out) const {
  read_exactly(fd_.get(), out, node_offset() + offset, path_);
}

// Of its whole block, if the pages are compressed.
ByteRange Segment::range_of_unit(std::uint64_t unit) const {
  if (footer_.table_bytes == 0) return {.offset = unit * kPageBytes, .size = kPageBytes};
  StoredBlock block = block_table().find(unit / kBlockPages);
  return {.offset = block.offset, .size = block.stored_bytes};
}

std::vector<ByteRange> Segment::needed_ranges(const std::vector<bool>& alive) const {
  std::vector<ByteRange> ranges;
  auto append = [&](ByteRange range) {
    std::uint64_t end = ranges.empty() ? 0 : ranges.back().offset + ranges.back().size;
    if (!ranges.empty() && range.offset <= end) {
      ranges.back().size += std::max(end, range.offset + range.size) - end;
    } else if (range.size > 0) {
      ranges.push_back(range);
    }
  };
  std::uint64_t units = std::min<std::uint64_t>(alive.size(), footer_.page_count);
  for (std::uint64_t unit = 0; unit < units; ++unit) {
    if (alive[unit]) append(range_of_unit(unit));
  }
  append({.offset = footer_.page_bytes, .size = image_offset() - footer_.page_bytes});
  append({.offset = footer_.file_bytes - sizeof(Footer), .size = sizeof(Footer)});
  return ranges;
}

const BlockTable& Segment::block_table() const {
  std::call_once(table_read_, [&] {
    auto bytes = read_checked(footer_.page_bytes, footer_.table_bytes, footer_.table_digest, "block table");
    std::vector<BlockEntry> entries(bytes.size() / sizeof(BlockEntry));
    std::memcpy(entries.data(), bytes.data(), bytes.size());
    table_ = BlockTable::create(std::move(entries), footer_.page_count, footer_.page_bytes);
    if (!table_) throw damaged(path_, "its block table does not fit its pages");
  });
  return *table_;
}

void Segment::read_blocks(std::uint64_t first_unit, std::span<std::byte> out, ReadMemory& memory) const {
  const BlockTable& table = block_table();
  std::uint64_t end_unit = first_unit + out.size() / kPageBytes;
  std::uint64_t end_block = block_count(end_unit);
  std::vector<std::byte> stored;
  for (std::uint64_t block = first_unit / kBlockPages; block < end_block;) {
    if (BlockBytes bytes = memory.blocks.find(footer_.version, block)) {
      copy_overlap(block, *bytes, first_unit, out);
      ++block;
      continue;
    }
    // As many as fit one read; they are adjacent.
    StoredBlock first = table.find(block);
    std::uint64_t end_offset = first.offset;
    std::uint64_t last = block;
    for (; last < end_block && end_offset - first.offset < kReadBytes; ++last)
      end_offset += table.find(last).stored_bytes;
    stored.resize(end_offset - first.offset);
    direct_.read(stored, first.offset, memory.buffers);
    std::span<const std::byte> left(stored);
    for (; block < last; ++block) {
      StoredBlock at = table.find(block);
      unpack_into(block, at, left.first(at.stored_bytes), first_unit, out, memory);
      left = left.subspan(at.stored_bytes);
    }
  }
}

void Segment::unpack_into(std::uint64_t number, const StoredBlock& block, std::span<const std::byte> stored,
                          std::uint64_t first_unit, std::span<std::byte> out, ReadMemory& memory) const {
  std::uint64_t block_unit = number * kBlockPages;
  bool whole = block_unit >= first_unit && (block_unit - first_unit) * kPageBytes + block.bytes <= out.size();
  if (whole) {
    unpack(number, block, stored, out.subspan((block_unit - first_unit) * kPageBytes, block.bytes));
    return;
  }
  auto bytes = std::make_shared<std::vector<std::byte>>(block.bytes);
  unpack(number, block, stored, *bytes);
  copy_overlap(number, *bytes, first_unit, out);
  memory.blocks.insert(footer_.version, number, std::move(bytes));
}

void Segment::unpack(std::uint64_t number, const StoredBlock& block, std::span<const std::byte> stored,
                     std::span<std::byte> out) const {
  if (!decompress(block.codec, stored, out))
    throw damaged(path_, fmt::format("block {} of its pages cannot be decompressed", number));
}

std::shared_ptr<const Segment> SegmentSet::find_shared(std::uint32_t version) const {
  auto found = std::ranges::lower_bound(segments_, version, {}, &Segment::version);
  return found != segments_.end() && (*found)->version() == version ? *found : nullptr;
}

}  // namespace ckpt::store
