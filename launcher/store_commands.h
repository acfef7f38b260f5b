// The commands of ckpt. Each throws Error if it cannot do what was asked; what it prints goes to standard
// output.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "launcher/naming.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// All applications, or the versions of one as a tree.
std::string list_command(const store::Store& store, const std::optional<std::string>& name, bool json);
// `stacks`: those of all threads, too.
std::string show_command(const store::Store& store, const Target& target, bool stacks, bool json);
std::string stats_command(const store::Store& store, const std::string& name, bool json);
std::string checkpoint_command(const store::Store& store, const std::string& name, bool json);
std::string suspend_command(const store::Store& store, const std::string& name, bool json);
// Reads every byte of the versions (no target: of all applications). With `repair`, those that are damaged
// are removed. What was found is printed by `print`, piece by piece; Error if anything is damaged and stays
// so.
void verify_command(store::Store& store, const std::optional<Target>& target, bool repair, bool json,
                    const std::function<void(const std::string&)>& print);
// Damaged or not. While a supervisor lives, it removes the version itself, between two checkpoints.
void remove_version(const store::Store& store, const std::string& name, store::Version version);
// Writes the version (default: the latest) as an ELF core file.
std::string core_command(const store::Store& store, const Target& target, const std::string& output,
                         bool json);
std::string remove_command(store::Store& store, const Target& target, bool json);

}  // namespace ckpt::launcher
