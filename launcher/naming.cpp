#include "launcher/naming.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/parse.h"

namespace ckpt::launcher {
namespace {

constexpr std::size_t kLongestDerivedName = 180;  // leaves room for a number within Store::check_name's 200

bool allowed(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '+' || c == '-';
}

}  // namespace

std::string name_for_program(std::string_view program) {
  while (program.size() > 1 && program.back() == '/') program.remove_suffix(1);
  std::string name(program.substr(program.rfind('/') + 1));
  std::ranges::replace_if(
      name, [](char c) { return !allowed(c); }, '_');
  if (name.empty() || name.front() == '.' || name.front() == '-') name.insert(name.begin(), '_');
  name.resize(std::min(name.size(), kLongestDerivedName));
  return name;
}

std::string numbered_name(const std::string& base, unsigned n) {
  return n <= 1 ? base : fmt::format("{}-{}", base, n);
}

Target parse_target(std::string_view text) {
  std::size_t at = text.rfind('@');
  Target target{.name = std::string(text.substr(0, at)), .version = std::nullopt, .label = {}};
  store::Store::check_name(target.name);
  if (at == std::string_view::npos) return target;
  std::string_view which = text.substr(at + 1);
  target.version = parse_unsigned(which);
  if (!target.version && !which.empty() && std::ranges::all_of(which, allowed) && which.front() != '-' &&
      which.front() != '.') {
    target.label = which;
  } else if (!target.version || *target.version == 0) {
    throw Error(
        fmt::format("'{}' does not name a version; write NAME@NUMBER or NAME@LABEL (ckpt show {} lists them)",
                    text, target.name));
  }
  return target;
}

Target resolve_label(const store::Store& store, Target target) {
  if (target.label.empty()) return target;
  for (const store::Tag& tag : store.application(target.name)->tags()) {
    if (tag.label != target.label) continue;
    target.version = tag.version;
    target.label.clear();
    return target;
  }
  throw Error(fmt::format("no version of {} is tagged {}; 'ckpt show {}' lists its versions", target.name,
                          target.label, target.name));
}

std::string to_string(const Target& target) {
  if (!target.label.empty()) return fmt::format("{}@{}", target.name, target.label);
  return target.version ? fmt::format("{}@{}", target.name, *target.version) : target.name;
}

std::vector<std::string> command_of(const std::vector<store::VersionEntry>& versions) {
  return versions.empty() ? std::vector<std::string>{} : versions.back().description.command;
}

bool same_program(const std::vector<store::VersionEntry>& versions, const std::vector<std::string>& command) {
  return versions.empty() || command_of(versions) == command;
}

}  // namespace ckpt::launcher
