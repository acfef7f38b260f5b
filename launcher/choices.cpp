#include "launcher/choices.h"

#include <filesystem>
#include <optional>
#include <string_view>

#include "base/parse.h"

namespace ckpt::launcher {
namespace {

constexpr std::string_view kLevelPrefix = "zstd:";
constexpr std::uint64_t kHighestZstdLevel = 19;

const std::map<std::string, engine::CopyMode>& copy_modes() {
  static const std::map<std::string, engine::CopyMode> kModes{{"auto", engine::CopyMode::kAuto},
                                                              {"copy", engine::CopyMode::kCopy},
                                                              {"precopy", engine::CopyMode::kPrecopy},
                                                              {"fork", engine::CopyMode::kFork}};
  return kModes;
}

const std::map<std::string, OutsideSockets>& socket_choices() {
  static const std::map<std::string, OutsideSockets> kChoices{
      {"reset", OutsideSockets::kReset}, {"eof", OutsideSockets::kEof}, {"keep", OutsideSockets::kKeep}};
  return kChoices;
}

const std::map<std::string, FilePolicy>& file_policies() {
  static const std::map<std::string, FilePolicy> kPolicies{
      {"keep", FilePolicy::kKeep}, {"rollback", FilePolicy::kRollBack}, {"embed", FilePolicy::kEmbed}};
  return kPolicies;
}

// Without "." and "..", doubled slashes, and a slash at the end.
std::string cleaned(const std::string& path) {
  std::string text = std::filesystem::path(path).lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

template <typename Value>
const char* name_in(const std::map<std::string, Value>& choices, Value wanted) {
  for (const auto& [name, value] : choices) {
    if (value == wanted) return name.c_str();
  }
  return "?";
}

}  // namespace

engine::CopyMode parse_copy_mode(const std::string& text) { return choose("--mode", text, copy_modes()); }

const char* name_of(engine::CopyMode mode) { return name_in(copy_modes(), mode); }

engine::PathChange parse_path_change(const std::string& text) {
  auto place = text.find('=');
  engine::PathChange change{.from = cleaned(text.substr(0, place)),
                            .to = place == std::string::npos ? "" : cleaned(text.substr(place + 1))};
  if (!change.from.starts_with('/') || !change.to.starts_with('/')) {
    throw Error(fmt::format(
        "--path does not take '{}'; write OLD=NEW, two absolute paths of files or directories", text));
  }
  return change;
}

OutsideSockets parse_outside_sockets(const std::string& text) {
  return choose("--sockets", text, socket_choices());
}
const char* name_of(OutsideSockets sockets) { return name_in(socket_choices(), sockets); }

FilePolicy parse_file_policy(const std::string& text) { return choose("--files", text, file_policies()); }
const char* name_of(FilePolicy policy) { return name_in(file_policies(), policy); }

store::WriteOptions parse_compression(const std::string& text) {
  using store::Compression;
  if (text.starts_with(kLevelPrefix)) {
    std::optional<std::uint64_t> level = parse_unsigned(text.substr(kLevelPrefix.size()));
    if (!level || *level == 0 || *level > kHighestZstdLevel) {
      throw Error(fmt::format("--compress does not take '{}'; the level is a number from 1 to {}", text,
                              kHighestZstdLevel));
    }
    return {.compression = Compression::kZstd, .level = static_cast<int>(*level)};
  }
  return {.compression = choose<Compression>(
              "--compress", text,
              {{"none", Compression::kNone}, {"lz4", Compression::kLz4}, {"zstd", Compression::kZstd}}),
          .level = 0};
}

std::string name_of(const store::WriteOptions& options) {
  switch (options.compression) {
    case store::Compression::kNone:
      return "none";
    case store::Compression::kLz4:
      return "lz4";
    case store::Compression::kZstd:
      return options.level == 0 ? "zstd" : fmt::format("{}{}", kLevelPrefix, options.level);
  }
  return "none";
}

}  // namespace ckpt::launcher
