// What `ckpt` and a supervisor say to each other: one JSON object per line over a stream socket.
//   request   {"command":"checkpoint"|"suspend"|"status"} or {"command":"remove","version":N}
//   reply     {"ok":true,...} or {"ok":false,"error":"one line"}
// A supervisor ignores keys that it does not know, a client too.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "store/checkpoint_store.h"

namespace ckpt::launcher {

inline constexpr std::size_t kLongestLine = 65536;

enum class ControlCommand { kCheckpoint, kSuspend, kStatus, kRemove };

struct ControlRequest {
  ControlCommand command = ControlCommand::kStatus;
  store::Version version = 0;  // kRemove
};

// Throws Error with a text for the client.
ControlRequest parse_request(std::string_view line);
std::string format_request(const ControlRequest& request);  // with its newline

std::string success_reply(nlohmann::json fields);  // with its newline
std::string error_reply(const std::string& error);

// The fields of a successful reply; throws Error with the supervisor's text otherwise.
nlohmann::json parse_reply(std::string_view line);

}  // namespace ckpt::launcher
