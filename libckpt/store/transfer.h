// A version as a stream of bytes: how checkpoints travel, over a pipe, a connection or a file.
//
//   head   "CKPTSND\n", format version, then records: name of the application, description of the version,
//   description
//          of the version that it is based on (none: it is whole), digest of all these
//   body   records: the process image; for each space the pages that it has, then content, of those only that
//   the base
//          has not; the end
//
// A record is a RecordHeader and its bytes, with their digest. The same version based on the same one gives
// the same bytes, so that a transfer that was interrupted goes on where it stopped: the receiver keeps whole
// records in a file of the store ("STORE/.receive-DIGEST"), and the sender skips as many bytes of the body.
//
// Hard rules:
//   1. Nothing is believed before its digest matches; lengths are bounded before memory is reserved.
//   2. The version is visible on the receiving side only when the whole stream is there: it is committed as
//   any other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::store {

// Takes all bytes, or throws.
using ByteSink = std::function<void(std::span<const std::byte>)>;
// Fills a part of `out` and returns its size; 0: the end.
using ByteSource = std::function<std::size_t(std::span<std::byte> out)>;

// Writes `version` of application `name`. With `base`, only what that has not: the receiver must have it.
// `skip`: bytes of the body that the receiver has already.
void send_version(const std::string& name, const CheckpointReader& version, const CheckpointReader* base,
                  std::uint64_t skip, const ByteSink& sink);

struct Received {
  std::string name;
  Version version = 0;  // its number here: the sender's where that was free
  bool was_there = false;
  std::uint64_t bytes = 0;  // of the stream
};

// Reads a stream and commits the version to application `name` (none: the sender's), which is created if it
// is new. If the stream ends early, what arrived is kept and the error says how to go on.
Received receive_version(Store& store, const std::optional<std::string>& name, const ByteSource& source);

// A stream of which a part has arrived.
struct PartialTransfer {
  std::string name;
  Version version = 0;
  Version base = 0;              // 0: none
  std::uint64_t body_bytes = 0;  // that are here: how many to skip
};
std::vector<PartialTransfer> partial_transfers(const Store& store);

// Whether two descriptions are of the same checkpoint, in whatever stores.
bool same_checkpoint(const VersionDescription& one, const VersionDescription& other);

}  // namespace ckpt::store
