// The records that a stream of transfer.h consists of.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"
#include "store/digest.h"
#include "store/transfer.h"

namespace ckpt::store {

enum class RecordKind : std::uint32_t {
  kName = 1,     // head: the application's name
  kVersion = 2,  // head: a manifest with description and spaces (without roots that mean anything)
  kBase = 3,     // head, last: the same of the base, or nothing
  kSkip = 4,     // the next `number` bytes of the body are left out
  kImage = 5,
  kPresent = 6,  // all pages of `space`: PageRuns
  kPages = 7,    // content of pages of `space`, from page `number` on
  kEnd = 8,
};

struct RecordHeader {
  RecordKind kind = RecordKind::kEnd;
  std::uint32_t space = 0;
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;
  Digest digest{};                  // of the bytes
  std::uint64_t header_digest = 0;  // lower half of the digest of what stands before it
};
static_assert(sizeof(RecordHeader) == 48);
static_assert(sizeof(PageRun) == 16);

inline constexpr std::array<char, 8> kStreamMagic{'C', 'K', 'P', 'T', 'S', 'N', 'D', '\n'};
inline constexpr std::uint64_t kStreamFormat = 1;
inline constexpr std::size_t kMostPages = 256;  // in one record

struct Record {
  RecordHeader header;
  std::vector<std::byte> bytes;
};

struct StreamHead {
  std::string name;
  VersionDescription version;
  std::vector<SpaceId> spaces;
  std::optional<VersionDescription> base;
  std::vector<std::byte> bytes;  // as they are in the stream
};

// How a stream ended before its end.
struct StreamEnd {};

// Fills the digests.
void seal(RecordHeader& header, std::span<const std::byte> bytes);
void append_record(std::vector<std::byte>& out, RecordHeader header, std::span<const std::byte> bytes);
std::vector<std::byte> encode_head(const std::string& name, const CheckpointReader& version,
                                   const CheckpointReader* base);

// Throw StreamEnd where the stream ends, Error where it is damaged.
StreamHead read_head(const ByteSource& source);
Record read_record(const ByteSource& source);

}  // namespace ckpt::store
