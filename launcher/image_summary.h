// What `ckpt show` tells of a process image.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "store/checkpoint_store.h"

namespace ckpt::image {
struct Checkpoint;
}

namespace ckpt::launcher {

// Whether the version is one of a persistent heap (vmheap/), which may lie in the same store.
bool is_heap(const store::VersionDescription& version);
// Throws Error if it is.
void require_program(const std::string& name, const store::VersionDescription& version);

// The image itself, which `bytes` must outlive. Throws Error for one that is damaged or of a newer format.
const image::Checkpoint& verified_image(std::span<const std::byte> bytes);

// {"process":{...},"threads":[...],"memory":{...},"descriptors":[...],...}; `before` is the version that this
// one builds on, or nullptr. Throws Error for an image that is damaged or of a newer format.
nlohmann::ordered_json image_json(const store::CheckpointReader& version,
                                  const store::CheckpointReader* before);

// The same for people, several lines.
std::string image_text(const nlohmann::ordered_json& image);

}  // namespace ckpt::launcher
