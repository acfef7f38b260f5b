#include "store/manifest.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_elements.h"
#include "manifest_generated.h"
#include "store/store_file.h"

namespace ckpt::store {
namespace {

format::Reference to_format(const Reference& from) {
  return {from.segment, from.unit, from.digest.low, from.digest.high};
}

Reference from_format(const format::Reference& from) {
  return {.segment = from.segment(),
          .unit = from.unit(),
          .digest = {.low = from.digest_low(), .high = from.digest_high()}};
}

std::string text(const flatbuffers::String* from) { return from == nullptr ? std::string() : from->str(); }

std::vector<std::string> texts(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* from) {
  std::vector<std::string> result;
  if (from == nullptr) return result;
  for (const flatbuffers::String* item : *from) result.push_back(item->str());
  return result;
}

auto encode_stages(flatbuffers::FlatBufferBuilder& builder, const std::vector<Stage>& stages) {
  std::vector<flatbuffers::Offset<format::Stage>> encoded;
  encoded.reserve(stages.size());
  for (const Stage& stage : stages)
    encoded.push_back(format::CreateStage(builder, builder.CreateString(stage.name), stage.microseconds));
  return builder.CreateVector(encoded);
}

std::vector<Stage> decode_stages(const format::Stats& from) {
  std::vector<Stage> stages;
  if (from.stages() == nullptr) return stages;  // an older version
  for (const format::Stage* stage : *from.stages())
    stages.push_back({.name = text(stage->name()), .microseconds = stage->time_us()});
  return stages;
}

flatbuffers::Offset<format::Stats> encode_stats(flatbuffers::FlatBufferBuilder& builder,
                                                const CheckpointStats& stats) {
  return format::CreateStats(builder, builder.CreateString(stats.mode), stats.freezing_time_us,
                             stats.frozen_time_us, stats.memdump_time_us, stats.memwrite_time_us,
                             stats.pages_scanned, stats.pages_skipped_parent, stats.pages_written,
                             stats.bytes_written, stats.resident_bytes, encode_stages(builder, stats.stages));
}

CheckpointStats decode_stats(const format::Stats* from) {
  if (from == nullptr) return {};
  return {.mode = text(from->mode()),
          .freezing_time_us = from->freezing_time_us(),
          .frozen_time_us = from->frozen_time_us(),
          .memdump_time_us = from->memdump_time_us(),
          .memwrite_time_us = from->memwrite_time_us(),
          .pages_scanned = from->pages_scanned(),
          .pages_skipped_parent = from->pages_skipped_parent(),
          .pages_written = from->pages_written(),
          .bytes_written = from->bytes_written(),
          .resident_bytes = from->resident_bytes(),
          .stages = decode_stages(*from)};
}

auto encode_kept(flatbuffers::FlatBufferBuilder& builder, const std::vector<KeptVersion>& kept) {
  std::vector<flatbuffers::Offset<format::KeptVersion>> encoded;
  encoded.reserve(kept.size());
  for (const KeptVersion& each : kept)
    encoded.push_back(format::CreateKeptVersion(builder, builder.CreateString(each.directory),
                                                builder.CreateString(each.name), each.version));
  return builder.CreateVector(encoded);
}

std::vector<KeptVersion> decode_kept(const format::Manifest& from) {
  std::vector<KeptVersion> kept;
  if (from.kept() == nullptr) return kept;  // an older version
  for (const format::KeptVersion* each : *from.kept())
    kept.push_back(
        {.directory = text(each->directory()), .name = text(each->name()), .version = each->version()});
  return kept;
}

VersionDescription decode_description(const format::Manifest& from) {
  return {.version = from.version(),
          .parent = from.parent(),
          .created_realtime_ns = from.created_realtime_ns(),
          .run_id = text(from.run_id()),
          .command = texts(from.command()),
          .working_directory = text(from.working_directory()),
          .pid = from.pid(),
          .process_count = from.process_count(),
          .thread_count = from.thread_count(),
          .notes = texts(from.notes()),
          .kept = decode_kept(from),
          .stats = decode_stats(from.stats())};
}

std::vector<SegmentUse> decode_segments(const format::Manifest& from, const std::string& path) {
  std::vector<SegmentUse> result;
  if (from.segments() != nullptr) {
    for (const format::SegmentUse* use : *from.segments()) {
      bool ascending = result.empty() ? use->segment() != 0 : use->segment() > result.back().segment;
      if (!ascending) throw damaged(path, "its segment list is out of order");
      result.push_back({.segment = use->segment(), .nodes = use->nodes(), .pages = use->pages()});
    }
  }
  if (result.empty() || result.back().segment != from.version()) {
    throw damaged(path, "its segment list does not end with itself");
  }
  return result;
}

std::vector<SpaceRoot> decode_spaces(const format::Manifest& from, const std::string& path) {
  std::vector<SpaceRoot> result;
  if (from.spaces() == nullptr) return result;
  for (const format::Space* space : *from.spaces()) {
    if (!result.empty() && space->id() <= result.back().id)
      throw damaged(path, "its space list is out of order");
    result.push_back(
        {.id = space->id(), .page_count = space->page_count(), .root = from_format(space->root())});
    if (!result.back().root.present()) throw damaged(path, "a space has no root");
  }
  return result;
}

}  // namespace

const SpaceRoot* Manifest::find_space(SpaceId id) const {
  auto found = std::ranges::lower_bound(spaces, id, {}, &SpaceRoot::id);
  return found != spaces.end() && found->id == id ? &*found : nullptr;
}

std::vector<std::byte> encode_manifest(const Manifest& manifest) {
  const VersionDescription& from = manifest.description;
  flatbuffers::FlatBufferBuilder builder;
  std::vector<format::SegmentUse> segments;
  for (const SegmentUse& use : manifest.segments) segments.emplace_back(use.segment, use.nodes, use.pages);
  std::vector<format::Space> spaces;
  for (const SpaceRoot& space : manifest.spaces)
    spaces.emplace_back(space.id, space.page_count, to_format(space.root));
  auto run_id = builder.CreateString(from.run_id);
  auto command = builder.CreateVectorOfStrings(from.command);
  auto working_directory = builder.CreateString(from.working_directory);
  auto notes = builder.CreateVectorOfStrings(from.notes);
  auto stats = encode_stats(builder, from.stats);
  auto kept = encode_kept(builder, from.kept);
  auto root = format::CreateManifest(builder, from.version, from.parent, from.created_realtime_ns, run_id,
                                     command, working_directory, from.pid, from.process_count,
                                     from.thread_count, notes, stats, builder.CreateVectorOfStructs(segments),
                                     builder.CreateVectorOfStructs(spaces), kept);
  format::FinishManifestBuffer(builder, root);
  auto bytes = std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize()));
  return {bytes.begin(), bytes.end()};
}

Manifest decode_manifest(std::span<const std::byte> bytes, Version version, const std::string& path) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  flatbuffers::Verifier verifier(data, bytes.size());
  if (!format::VerifyManifestBuffer(verifier)) throw damaged(path, "its manifest is not valid");
  const format::Manifest& root = *format::GetManifest(data);
  if (!has_aligned_elements(root.segments()) || !has_aligned_elements(root.spaces()))
    throw damaged(path, "its manifest is not aligned");
  if (root.version() != version) throw damaged(path, "its manifest belongs to another version");
  return {.description = decode_description(root),
          .segments = decode_segments(root, path),
          .spaces = decode_spaces(root, path)};
}

}  // namespace ckpt::store
