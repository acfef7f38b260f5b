// The bytes of a segment file. All numbers are little-endian; every structure below is stored as it is in
// memory.
//
//   page data   `page_bytes`. Not compressed (`table_bytes` 0): a multiple of 4096, page `unit` u is at u *
//   4096.
//               Compressed: blocks of 16 pages (units 16 b to 16 b + 15; the last one may be shorter), one
//               after the other, each compressed on its own or raw if that is no larger; then zeroes up to a
//               multiple of 8
//   table       `table_bytes`: a BlockEntry for each block; zeroes up to a multiple of 8
//   nodes       `node_bytes`, a multiple of 8: page-tree nodes, node `unit` u is at u * 8 in here
//   manifest    `manifest_bytes` (FlatBuffers, manifest.fbs); zeroes up to a multiple of 8
//   image       `image_bytes`: the process image; zeroes up to the footer
//   footer      at file_bytes - 192; file_bytes is a multiple of 4096
//
// Hard rules:
//   1. A segment is written once, sequentially, under a temporary name. Once it has its name it never
//   changes.
//   2. The name says only where to look. The footer repeats the version; a mismatch is damage.
//   3. Whatever is read is checked before use: footer digest, manifest digest and FlatBuffers verifier, table
//   digest,
//      node
//   digest
//      and structure, page digest. The root in the manifest so verifies everything below it, across segments.
//   4. A reference leads to a strictly smaller level, a delta to a strictly smaller chain: no cycle can be
//   followed.
//   5. A reader refuses every format version but its own.
//
// A node is a table of 512 references keyed by 9 bits of the page number. Level 0 refers to pages, level n to
// nodes of level n - 1, level 4 is the root: 45 bits of page number, 57 of address. A node is stored as
//
//   whole, full      header, 512 entries                                                  (entry_count 512)
//   whole, sparse    header, entry_count indices (u16), padding to 8, entry_count entries
//   delta            header, base (a Reference to an older state of the same node), entry_count indices,
//                    removed_count indices, padding to 8, entry_count entries
//
// with indices strictly ascending. `chain` counts the deltas from here down to the whole node.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "store/digest.h"

namespace ckpt::store {

static_assert(std::endian::native == std::endian::little, "structures are stored as they are in memory");

inline constexpr std::array<char, 8> kSegmentMagic{'C', 'K', 'P', 'T', 'S', 'E', 'G', '\n'};
inline constexpr std::uint32_t kFormatVersion = 2;

inline constexpr unsigned kIndexBits = 9;
inline constexpr std::size_t kFanout = 1U << kIndexBits;
inline constexpr unsigned kRootLevel = 4;
inline constexpr std::uint64_t kPageNumberLimit = 1ULL << (kIndexBits * (kRootLevel + 1));
inline constexpr unsigned kMaxChain = 8;
inline constexpr std::size_t kNodeUnit = 8;

// Where a page or node is, and its digest. Segment 0 does not exist: such an entry is absent.
struct Reference {
  std::uint32_t segment = 0;  // offset 0: version that wrote it
  std::uint32_t unit = 0;     // offset 4: in pages within page data, in 8 bytes within the nodes
  Digest digest;              // offset 8

  bool present() const { return segment != 0; }
  // Where it is, in one number; pages and nodes count separately.
  std::uint64_t place() const { return std::uint64_t{segment} << 32U | unit; }
  bool operator==(const Reference&) const = default;
};
static_assert(sizeof(Reference) == 24 && offsetof(Reference, unit) == 4 && offsetof(Reference, digest) == 8);

using Table = std::array<Reference, kFanout>;

enum class NodeKind : std::uint8_t { kWhole = 1, kDelta = 2 };

struct NodeHeader {
  std::uint8_t level = 0;            // offset 0
  NodeKind kind = NodeKind::kWhole;  // offset 1
  std::uint8_t chain = 0;            // offset 2: 0 for whole nodes, at most kMaxChain
  std::uint8_t zero = 0;             // offset 3
  std::uint16_t entry_count = 0;     // offset 4
  std::uint16_t removed_count = 0;   // offset 6: only deltas
};
static_assert(sizeof(NodeHeader) == 8 && offsetof(NodeHeader, entry_count) == 4);

// Pages that are compressed together.
inline constexpr std::uint64_t kBlockPages = 16;
inline constexpr std::size_t kBlockBytes = kBlockPages * 4096;

enum class Codec : std::uint8_t { kRaw = 0, kLz4 = 1, kZstd = 2 };

class BlockEntry {
 public:
  BlockEntry() = default;
  BlockEntry(Codec codec, std::size_t stored_bytes)
      : value_(static_cast<std::uint32_t>(codec) << kSizeBits | static_cast<std::uint32_t>(stored_bytes)) {}

  Codec codec() const { return static_cast<Codec>(value_ >> kSizeBits); }
  std::size_t stored_bytes() const { return value_ & ((1U << kSizeBits) - 1); }

 private:
  static constexpr unsigned kSizeBits = 24;
  std::uint32_t value_ = 0;  // lower 24 bits: size in the file; upper 8 bits: codec
};
static_assert(sizeof(BlockEntry) == 4);

constexpr std::uint64_t block_count(std::uint64_t page_count) {
  return page_count / kBlockPages + (page_count % kBlockPages != 0 ? 1 : 0);
}

struct Footer {
  std::array<char, 8> magic = kSegmentMagic;      // offset 0
  std::uint32_t format_version = kFormatVersion;  // offset 8
  std::uint32_t footer_bytes = 192;               // offset 12
  std::uint64_t version = 0;                      // offset 16: which version this segment was written by
  std::uint64_t file_bytes = 0;                   // offset 24
  std::uint64_t page_bytes = 0;                   // offset 32
  std::uint64_t page_count = 0;                   // offset 40
  std::uint64_t table_bytes = 0;                  // offset 48
  std::uint64_t node_bytes = 0;                   // offset 56
  std::uint64_t manifest_bytes = 0;               // offset 64
  std::uint64_t image_bytes = 0;                  // offset 72
  Digest table_digest;                            // offset 80
  Digest manifest_digest;                         // offset 96
  Digest image_digest;                            // offset 112
  std::array<std::uint64_t, 6> zero{};            // offset 128
  Digest footer_digest;                           // offset 176: of the 176 bytes before it
};
static_assert(sizeof(Footer) == 192 && offsetof(Footer, version) == 16 &&
              offsetof(Footer, table_bytes) == 48 && offsetof(Footer, table_digest) == 80 &&
              offsetof(Footer, footer_digest) == 176);

// Limits that keep a damaged length from becoming a huge allocation.
inline constexpr std::uint64_t kMaxManifestBytes = 64ULL << 20;
inline constexpr std::uint64_t kMaxImageBytes = 1ULL << 30;

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace ckpt::store
