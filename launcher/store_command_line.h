// Command line of ckpt.
#pragma once

#include <string>
#include <vector>

namespace ckpt::launcher {

// Returns the exit code; throws Error. `recover` becomes ckptrun, which is looked for beside this program.
int run_store_command(const std::vector<std::string>& arguments);

}  // namespace ckpt::launcher
