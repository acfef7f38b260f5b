// Names of applications: what a fresh run is called, and how NAME@VERSION is written.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// The base name of PROGRAM, made to fit Store::check_name.
std::string name_for_program(std::string_view program);

// The n-th name to try: NAME, NAME-2, NAME-3, ...
std::string numbered_name(const std::string& base, unsigned n);

struct Target {
  std::string name;
  std::optional<store::Version> version;
  std::string label;  // instead of the version
};

// "NAME", "NAME@VERSION" or "NAME@LABEL". Throws Error if it is none of these.
Target parse_target(std::string_view text);
// With the version that is tagged so. Throws Error if none is.
Target resolve_label(const store::Store& store, Target target);
std::string to_string(const Target& target);

// The command line of the newest version; empty without versions.
std::vector<std::string> command_of(const std::vector<store::VersionEntry>& versions);

// Whether a fresh run of `command` may continue under a name with these versions.
bool same_program(const std::vector<store::VersionEntry>& versions, const std::vector<std::string>& command);

}  // namespace ckpt::launcher
