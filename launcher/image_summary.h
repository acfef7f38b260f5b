// What `ckpt show` tells of a process image.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace ckpt::launcher {

// {"process":{...},"threads":[...],"memory":{...},"descriptors":[...]}. Throws Error for an image that is
// damaged or of a newer format.
nlohmann::ordered_json image_json(std::span<const std::byte> image);

// The same for people, several lines.
std::string image_text(const nlohmann::ordered_json& image);

}  // namespace ckpt::launcher
