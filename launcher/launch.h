// What ckptrun does, from its command line to its exit code.
#pragma once

#include <string>
#include <vector>

namespace ckpt::launcher {

// Returns the exit code; throws ExitError or Error for failures of our own.
int launch(const std::vector<std::string>& arguments);

}  // namespace ckpt::launcher
