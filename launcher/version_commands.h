// Commands of ckpt on versions: labels, differences, space. Each returns what goes to standard output and
// throws Error if it cannot do what was asked.
#pragma once

#include <optional>
#include <string>

#include "launcher/naming.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

std::string tag_command(const store::Store& store, const Target& target, const std::string& label, bool json);
std::string untag_command(const store::Store& store, const std::string& name, const std::string& label,
                          bool json);
// What changed from one version to the other: mappings, and pages by mapping.
std::string diff_command(const store::Store& store, const Target& from, const Target& to, bool json);
// Gives back space that nothing needs: of all applications, or of one.
std::string gc_command(const store::Store& store, const std::optional<std::string>& name, bool json);

}  // namespace ckpt::launcher
