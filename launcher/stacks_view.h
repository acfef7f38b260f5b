// Stacks of threads as ckpt show --stacks prints them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/inspect/stacks.h"

namespace ckpt::launcher {

nlohmann::ordered_json stacks_json(const std::vector<engine::ThreadStack>& stacks);
std::string stacks_text(const std::vector<engine::ThreadStack>& stacks);

}  // namespace ckpt::launcher
