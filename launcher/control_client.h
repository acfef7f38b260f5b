#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "launcher/control_protocol.h"

namespace ckpt::launcher {

// Asks the supervisor of the application in `directory` and waits for the answer; if it is to end with that
// (kSuspend), also for its end. Empty if none listens; throws Error if it refuses or goes away without an
// answer.
std::optional<nlohmann::json> ask_supervisor(int directory, const ControlRequest& request);

}  // namespace ckpt::launcher
