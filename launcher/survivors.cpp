#include "launcher/survivors.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>

#include "agent/agent_table.h"
#include "base/error.h"
#include "base/file_io.h"
#include "base/list_text.h"
#include "base/parse.h"
#include "base/proc_stat.h"

namespace ckpt::launcher {
namespace {

constexpr std::size_t kMostNames = 5;

// Empty if it cannot be read: processes end, and others' are private.
std::string read_of(pid_t pid, const char* file) {
  try {
    return read_file(fmt::format("/proc/{}/{}", pid, file));
  } catch (const Error&) {
    return {};
  }
}

std::string name_of(pid_t pid) {
  std::string name = read_of(pid, "comm");
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

// As program_start.cpp sets it: "CKPT_RUN=PID:DIRECTORY".
bool belongs_to(const std::string& directory, std::string_view environment) {
  std::string begin = fmt::format("{}=", agent::kRunVariable);
  std::string end = ':' + directory;
  while (!environment.empty()) {
    std::string_view entry = take_field(environment, '\0');
    if (entry.starts_with(begin) && entry.ends_with(end)) return true;
  }
  return false;
}

bool is_supervised(pid_t pid) {
  try {
    while (pid > 1) {
      if (name_of(pid) == "ckptrun") return true;
      pid = static_cast<pid_t>(ProcStat(pid).parent());
    }
  } catch (const Error&) {
    return true;  // it is ending
  }
  return false;
}

}  // namespace

std::vector<Survivor> find_survivors(const std::string& directory) {
  std::vector<Survivor> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    auto number = parse_unsigned(entry.path().filename().string());
    if (!number) continue;
    auto pid = static_cast<pid_t>(*number);
    if (belongs_to(directory, read_of(pid, "environ")) && !is_supervised(pid))
      found.push_back({.pid = pid, .name = name_of(pid)});
  }
  return found;
}

std::string survivors_note(const std::vector<Survivor>& survivors) {
  if (survivors.empty()) return {};
  std::vector<std::string> named;
  for (const Survivor& each : survivors) named.push_back(fmt::format("{} ({})", each.pid, each.name));
  return fmt::format(
      "processes of the run before are still there, and may use the same files: {}; end them if they should "
      "not",
      list_some(named, kMostNames));
}

}  // namespace ckpt::launcher
