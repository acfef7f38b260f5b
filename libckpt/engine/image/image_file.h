// The process image as bytes.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "image_generated.h"

namespace ckpt::engine {

inline constexpr std::uint32_t kImageFormat = 1;

std::vector<std::byte> pack_image(const image::CheckpointT& checkpoint);

// Verifies the bytes before anything is read from them. Throws Error if they are damaged or of a newer
// format.
std::unique_ptr<image::CheckpointT> unpack_image(std::span<const std::byte> bytes);

}  // namespace ckpt::engine
