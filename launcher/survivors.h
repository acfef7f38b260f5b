// Processes of a run that are still there when its ckptrun and its program are not: children of a program
// that was killed, for instance. A resumed program would use the same files as they do.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace ckpt::launcher {

struct Survivor {
  pid_t pid = 0;
  std::string name;
};

// Those whose environment says that they belong to the application in `directory`, and that descend from no
// ckptrun. Programs that clear their environment are not found.
std::vector<Survivor> find_survivors(const std::string& directory);

// One line for people; empty if there are none.
std::string survivors_note(const std::vector<Survivor>& survivors);

}  // namespace ckpt::launcher
