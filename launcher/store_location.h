#pragma once

#include <optional>
#include <string>

#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// --store if given, else $CKPT_STORE, else ${XDG_STATE_HOME:-~/.local/state}/ckpt. Always absolute.
std::string store_path(const std::optional<std::string>& given);

// For runs: makes the directory, and for the default location those above it, if they are missing.
store::Store open_store_for_run(const std::optional<std::string>& given);

store::Store open_existing_store(const std::optional<std::string>& given);

}  // namespace ckpt::launcher
