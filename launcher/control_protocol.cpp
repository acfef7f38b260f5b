#include "launcher/control_protocol.h"

#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "launcher/json_text.h"

namespace ckpt::launcher {
namespace {

using nlohmann::json;

struct CommandName {
  ControlCommand command;
  const char* name;
};
constexpr std::array<CommandName, 4> kCommands{{{ControlCommand::kCheckpoint, "checkpoint"},
                                                {ControlCommand::kSuspend, "suspend"},
                                                {ControlCommand::kStatus, "status"},
                                                {ControlCommand::kRemove, "remove"}}};

}  // namespace

ControlRequest parse_request(std::string_view line) {
  json parsed = json::parse(line, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("command") || !parsed["command"].is_string()) {
    throw Error("the request is not a JSON object with a command; send {\"command\":\"status\"}");
  }
  std::string wanted = parsed["command"].get<std::string>();
  for (const CommandName& entry : kCommands) {
    if (wanted != entry.name) continue;
    ControlRequest request{.command = entry.command, .version = 0};
    if (entry.command != ControlCommand::kRemove) return request;
    if (!parsed.contains("version") || !parsed["version"].is_number_unsigned() || parsed["version"] == 0) {
      throw Error("the command 'remove' needs a version; add its number");
    }
    request.version = parsed["version"].get<store::Version>();
    return request;
  }
  throw Error("the supervisor does not know this command; use the ckpt of the same release");
}

std::string format_request(const ControlRequest& request) {
  json fields;
  for (const CommandName& entry : kCommands) {
    if (entry.command == request.command) fields["command"] = entry.name;
  }
  if (request.command == ControlCommand::kRemove) fields["version"] = request.version;
  return json_line(fields) + "\n";
}

std::string success_reply(json fields) {
  fields["ok"] = true;
  return json_line(fields) + "\n";
}

std::string error_reply(const std::string& error) {
  return json_line({{"ok", false}, {"error", error}}) + "\n";
}

json parse_reply(std::string_view line) {
  json parsed = json::parse(line, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("ok") || !parsed["ok"].is_boolean()) {
    throw Error("the supervisor's answer makes no sense; use the ckpt of the same release");
  }
  if (parsed["ok"].get<bool>()) return parsed;
  bool has_text = parsed.contains("error") && parsed["error"].is_string();
  throw Error(has_text ? parsed["error"].get<std::string>() : "the supervisor refused without a reason");
}

}  // namespace ckpt::launcher
