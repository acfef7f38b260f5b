#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace ckpt::launcher {

// One line. Command lines and paths may hold bytes that are not UTF-8; they are replaced rather than refused.
inline std::string json_line(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// What --json prints.
inline std::string json_output(const nlohmann::ordered_json& value) {
  return value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace ckpt::launcher
