// The commands of ckpt. Each throws Error if it cannot do what was asked; what it prints goes to standard
// output.
#pragma once

#include <string>

#include "launcher/naming.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

std::string list_command(const store::Store& store, bool json);
std::string show_command(const store::Store& store, const Target& target, bool json);
std::string stats_command(const store::Store& store, const std::string& name, bool json);
std::string checkpoint_command(const store::Store& store, const std::string& name, bool json);
std::string suspend_command(const store::Store& store, const std::string& name, bool json);
std::string remove_command(store::Store& store, const Target& target, bool json);

}  // namespace ckpt::launcher
