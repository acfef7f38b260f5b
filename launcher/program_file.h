// The file behind PROGRAM: found as execvp() finds it, and checked before anything is started.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ckpt::launcher {

// Path of the file that execvp(program) would run. Throws ExitError: 127 if there is none, 126 if it cannot
// be run.
std::string find_program(const std::string& program);

// Words of the "#!" line at the start of `head`: interpreter and, if there is one, its argument; empty
// without.
std::vector<std::string> interpreter_line(std::string_view head);

// Throws Error for a program that gains privileges when it starts (it could be neither traced nor restored):
// set-uid, set-gid, file capabilities; for a script, its interpreter counts.
void refuse_privileged(const std::string& path);

}  // namespace ckpt::launcher
