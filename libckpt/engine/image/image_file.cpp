#include "engine/image/image_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/aligned_elements.h"
#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr flatbuffers::uoffset_t kMaxDepth = 64;
constexpr flatbuffers::uoffset_t kMaxTables = 16 << 20;

// The verifier lets a union pass whose type is there and whose table is missing.
bool has_detail(const image::DescriptionT& description) {
  return description.detail.type != image::DescriptionDetail::NONE && description.detail.value != nullptr;
}

bool complete(const image::ProcessT& process) {
  if (process.ended) return !process.threads.empty();
  return process.layout != nullptr && process.credentials != nullptr && process.executable_file != nullptr &&
         !process.threads.empty() &&
         std::ranges::all_of(process.descriptions, [](const auto& each) { return has_detail(*each); });
}

// Tables that every reader relies on.
bool complete(const image::CheckpointT& checkpoint) {
  if (checkpoint.host == nullptr || checkpoint.clocks == nullptr || checkpoint.process == nullptr)
    return false;
  const image::ProcessT& program = *checkpoint.process;
  return !program.ended && complete(program) &&
         std::ranges::all_of(checkpoint.relatives, [&](const auto& relative) {
           return complete(*relative) &&
                  std::ranges::all_of(relative->descriptors, [&](const auto& descriptor) {
                    auto index = static_cast<std::size_t>(descriptor->description);
                    return descriptor->description >= 0 && index < program.descriptions.size();
                  });
         });
}

bool is_aligned(const image::Process* process) {
  if (process == nullptr || process->mappings() == nullptr) return true;
  return std::all_of(process->mappings()->begin(), process->mappings()->end(),
                     [](const image::Mapping* mapping) { return has_aligned_elements(mapping->guards()); });
}

bool is_aligned(const image::Checkpoint& checkpoint) {
  bool relatives_are = checkpoint.relatives() == nullptr ||
                       std::all_of(checkpoint.relatives()->begin(), checkpoint.relatives()->end(),
                                   [](const image::Process* relative) { return is_aligned(relative); });
  return relatives_are && is_aligned(checkpoint.process());
}

}  // namespace

std::vector<std::byte> pack_image(const image::CheckpointT& checkpoint) {
  flatbuffers::FlatBufferBuilder builder(1 << 16);
  image::FinishCheckpointBuffer(builder, image::Checkpoint::Pack(builder, &checkpoint));
  auto bytes = std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize()));
  return {bytes.begin(), bytes.end()};
}

std::unique_ptr<image::CheckpointT> unpack_image(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  flatbuffers::Verifier verifier(data, bytes.size(), kMaxDepth, kMaxTables);
  if (!image::VerifyCheckpointBuffer(verifier) || !is_aligned(*image::GetCheckpoint(data))) {
    throw Error("the process image in the checkpoint is damaged; recover another version");
  }
  std::unique_ptr<image::CheckpointT> checkpoint = image::UnPackCheckpoint(data);
  if (checkpoint->format != kImageFormat) {
    throw Error(
        fmt::format("the checkpoint has image format {}, this program reads format {}; use a newer ckptrun",
                    checkpoint->format, kImageFormat));
  }
  if (!complete(*checkpoint)) {
    throw Error("the process image in the checkpoint is incomplete; recover another version");
  }
  return checkpoint;
}

}  // namespace ckpt::engine
