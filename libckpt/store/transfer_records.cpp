#include "store/transfer_records.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "store/manifest.h"
#include "store/segment_format.h"

namespace ckpt::store {
namespace {

constexpr const char* kSource = "the stream";
constexpr std::uint64_t kReadAtOnce = 4 << 20;

[[noreturn]] void damaged_stream(const char* what) {
  throw Error(fmt::format("the stream is damaged: {}; send it again", what), EBADMSG);
}

void append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::uint64_t header_digest(const RecordHeader& header) {
  auto bytes = std::as_bytes(std::span(&header, 1));
  return digest_of(bytes.first(offsetof(RecordHeader, header_digest))).low;
}

std::vector<std::byte> describe(const CheckpointReader& version) {
  Manifest manifest{.description = version.description(), .segments = {}, .spaces = {}};
  auto number = static_cast<std::uint32_t>(manifest.description.version);
  manifest.segments.push_back({.segment = number, .nodes = 0, .pages = 0});
  for (SpaceId space : version.spaces())
    manifest.spaces.push_back(
        {.id = space, .page_count = 0, .root = {.segment = number, .unit = 0, .digest = {}}});
  return encode_manifest(manifest);
}

void read_all(const ByteSource& source, std::span<std::byte> out) {
  while (!out.empty()) {
    std::size_t size = source(out);
    if (size == 0) throw StreamEnd();
    out = out.subspan(size);
  }
}

std::uint64_t most_bytes(RecordKind kind) {
  switch (kind) {
    case RecordKind::kName:
      return kPageBytes;
    case RecordKind::kVersion:
    case RecordKind::kBase:
      return kMaxManifestBytes;
    case RecordKind::kSkip:
    case RecordKind::kEnd:
      return 0;
    case RecordKind::kImage:
    case RecordKind::kPresent:
      return kMaxImageBytes;
    case RecordKind::kPages:
      return kMostPages * kPageBytes;
  }
  damaged_stream("it has a record of an unknown kind");
}

Record read_head_record(const ByteSource& source, RecordKind kind, std::vector<std::byte>& head) {
  Record record = read_record(source);
  if (record.header.kind != kind) damaged_stream("its first records are in the wrong order");
  append_record(head, record.header, record.bytes);
  return record;
}

Manifest manifest_in(const Record& record) {
  return decode_manifest(record.bytes, record.header.number, kSource);
}

}  // namespace

void seal(RecordHeader& header, std::span<const std::byte> bytes) {
  header.bytes = bytes.size();
  header.digest = digest_of(bytes);
  header.header_digest = header_digest(header);
}

void append_record(std::vector<std::byte>& out, RecordHeader header, std::span<const std::byte> bytes) {
  seal(header, bytes);
  append(out, std::as_bytes(std::span(&header, 1)));
  append(out, bytes);
}

std::vector<std::byte> encode_head(const std::string& name, const CheckpointReader& version,
                                   const CheckpointReader* base) {
  std::vector<std::byte> head;
  append(head, std::as_bytes(std::span(kStreamMagic)));
  append(head, std::as_bytes(std::span(&kStreamFormat, 1)));
  auto add = [&](RecordKind kind, Version number, std::span<const std::byte> bytes) {
    append_record(head, {.kind = kind, .number = number}, bytes);
  };
  add(RecordKind::kName, 0, bytes_of(name));
  add(RecordKind::kVersion, version.description().version, describe(version));
  if (base != nullptr) {
    add(RecordKind::kBase, base->description().version, describe(*base));
  } else {
    add(RecordKind::kBase, 0, {});
  }
  return head;
}

Record read_record(const ByteSource& source) {
  Record record;
  read_all(source, std::as_writable_bytes(std::span(&record.header, 1)));
  if (record.header.header_digest != header_digest(record.header))
    damaged_stream("the header of a record does not match its digest");
  if (record.header.bytes > most_bytes(record.header.kind)) damaged_stream("a record is too long");
  // What a header promises need not come: memory is taken for what has.
  while (record.bytes.size() < record.header.bytes) {
    std::size_t before = record.bytes.size();
    record.bytes.resize(before + std::min<std::uint64_t>(record.header.bytes - before, kReadAtOnce));
    read_all(source, std::span(record.bytes).subspan(before));
  }
  if (digest_of(record.bytes) != record.header.digest) damaged_stream("a record does not match its digest");
  return record;
}

StreamHead read_head(const ByteSource& source) {
  StreamHead head;
  head.bytes.resize(sizeof kStreamMagic + sizeof kStreamFormat);
  try {
    read_all(source, head.bytes);
  } catch (const StreamEnd&) {
    throw Error("there is no stream of 'ckpt send' to read; nothing was received", ENODATA);
  }
  if (std::memcmp(head.bytes.data(), kStreamMagic.data(), sizeof kStreamMagic) != 0)
    throw Error("this is no stream of 'ckpt send'; nothing was received", EBADMSG);
  std::uint64_t format = 0;
  std::memcpy(&format, head.bytes.data() + sizeof kStreamMagic, sizeof format);
  if (format != kStreamFormat) {
    throw Error(fmt::format("the stream has format {}, this program reads {}; use the program that wrote it",
                            format, kStreamFormat),
                EBADMSG);
  }
  Record name = read_head_record(source, RecordKind::kName, head.bytes);
  head.name.assign(reinterpret_cast<const char*>(name.bytes.data()), name.bytes.size());
  Manifest version = manifest_in(read_head_record(source, RecordKind::kVersion, head.bytes));
  head.version = std::move(version.description);
  for (const SpaceRoot& space : version.spaces) head.spaces.push_back(space.id);
  Record base = read_head_record(source, RecordKind::kBase, head.bytes);
  if (!base.bytes.empty()) head.base = manifest_in(base).description;
  return head;
}

}  // namespace ckpt::store
