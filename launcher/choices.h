// Options whose value is one of a few words, as typed and as kept in the settings of a run.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>

#include "base/error.h"
#include "engine/session.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// What becomes of TCP connections with the outside: they come back lost, in one way or the other, or a
// suspend keeps them for the recover that follows.
enum class OutsideSockets { kReset, kEof, kKeep };

// Files that the program writes: left to themselves, or part of the checkpoint and put back with it.
enum class FilePolicy { kKeep, kRollBack, kEmbed };  // kEmbed: also those that it only reads

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

// --sockets
OutsideSockets parse_outside_sockets(const std::string& text);
const char* name_of(OutsideSockets sockets);

// --path: OLD=NEW, both absolute
engine::PathChange parse_path_change(const std::string& text);

// --files
FilePolicy parse_file_policy(const std::string& text);
const char* name_of(FilePolicy policy);

// --compress: none, lz4, zstd or zstd:LEVEL
store::WriteOptions parse_compression(const std::string& text);
std::string name_of(const store::WriteOptions& options);

}  // namespace ckpt::launcher
