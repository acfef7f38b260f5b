// What `ckpt show` tells of a process image.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace ckpt::image {
struct Checkpoint;
}

namespace ckpt::launcher {

// The image itself, which `bytes` must outlive. Throws Error for one that is damaged or of a newer format.
const image::Checkpoint& verified_image(std::span<const std::byte> bytes);

// {"process":{...},"threads":[...],"memory":{...},"descriptors":[...]}. Throws Error for an image that is
// damaged or of a newer format.
nlohmann::ordered_json image_json(std::span<const std::byte> image);

// The same for people, several lines.
std::string image_text(const nlohmann::ordered_json& image);

}  // namespace ckpt::launcher
