#include "launcher/stacks_view.h"

#include <fmt/format.h>

#include <filesystem>

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;

ordered_json or_null(const std::string& text) {
  return text.empty() ? ordered_json(nullptr) : ordered_json(text);
}

std::string frame_text(std::size_t number, const engine::StackFrame& frame) {
  std::string where = frame.function.empty() ? "?" : fmt::format("{}+{:#x}", frame.function, frame.offset);
  std::string out = fmt::format("  #{:<3} {:#018x}  {}", number, frame.address, where);
  if (!frame.source.empty()) out += fmt::format(" at {}", frame.source);
  if (!frame.file.empty()) out += fmt::format(" ({})", std::filesystem::path(frame.file).filename().string());
  return out + "\n";
}

}  // namespace

ordered_json stacks_json(const std::vector<engine::ThreadStack>& stacks) {
  ordered_json threads = ordered_json::array();
  for (const engine::ThreadStack& stack : stacks) {
    ordered_json frames = ordered_json::array();
    for (const engine::StackFrame& frame : stack.frames) {
      frames.push_back(
          {{"address", frame.address},
           {"function", or_null(frame.function)},
           {"offset", frame.function.empty() ? ordered_json(nullptr) : ordered_json(frame.offset)},
           {"file", or_null(frame.file)},
           {"source", or_null(frame.source)}});
    }
    threads.push_back({{"pid", stack.pid},
                       {"tid", stack.tid},
                       {"name", stack.name},
                       {"frames", frames},
                       {"broken_off", or_null(stack.broken_off)}});
  }
  return threads;
}

std::string stacks_text(const std::vector<engine::ThreadStack>& stacks) {
  std::string out;
  for (const engine::ThreadStack& stack : stacks) {
    out += fmt::format("\nthread       {} ({})\n", stack.tid, stack.name);
    for (std::size_t i = 0; i < stack.frames.size(); ++i) out += frame_text(i, stack.frames[i]);
    if (!stack.broken_off.empty()) out += fmt::format("  broken off: {}\n", stack.broken_off);
  }
  return out;
}

}  // namespace ckpt::launcher
