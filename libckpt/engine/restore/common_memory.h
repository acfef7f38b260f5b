// Memory that processes have in common since fork, until one of them writes to it: a version holds it once,
// but in a recovered tree only those share it who were made by fork again (fork_again.h).
#pragma once

#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

// A line for people about how much more memory these pages of the version take than if equal ones were
// shared; empty if that is not worth mentioning. In any order.
std::string common_memory_note(std::vector<store::StoredRun> runs);

}  // namespace ckpt::engine
