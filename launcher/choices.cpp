#include "launcher/choices.h"

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

}  // namespace

engine::CopyMode parse_copy_mode(const std::string& text) { return choose("--mode", text, copy_modes()); }

const char* name_of(engine::CopyMode mode) {
  for (const auto& [name, value] : copy_modes()) {
    if (value == mode) return name.c_str();
  }
  return "?";
}

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
