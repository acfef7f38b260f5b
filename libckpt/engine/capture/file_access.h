#pragma once

#include <memory>
#include <string>

#include "image_generated.h"

namespace ckpt::engine {

// Permission bits and owner of what `path` names. Throws Error if it cannot be examined.
std::unique_ptr<image::FileAccessT> access_to(const std::string& path);

}  // namespace ckpt::engine
