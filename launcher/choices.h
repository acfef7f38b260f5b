// Options whose value is one of a few words, as typed and as kept in the settings of a run.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>

#include "base/error.h"
#include "engine/session.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// The value that `text` names; Error with all that there are, if none.
template <typename Value>
Value choose(const std::string& option, const std::string& text,
             const std::map<std::string, Value>& choices) {
  if (auto found = choices.find(text); found != choices.end()) return found->second;
  std::string names;
  for (const auto& [name, value] : choices) names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  throw Error(fmt::format("{} does not know '{}'; write one of {}", option, text, names));
}

// --mode
engine::CopyMode parse_copy_mode(const std::string& text);
const char* name_of(engine::CopyMode mode);

// --compress: none, lz4, zstd or zstd:LEVEL
store::WriteOptions parse_compression(const std::string& text);
std::string name_of(const store::WriteOptions& options);

}  // namespace ckpt::launcher
