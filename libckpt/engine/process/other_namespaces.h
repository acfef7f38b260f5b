#pragma once

#include <sys/types.h>

#include "engine/process/family.h"

namespace ckpt::engine {

// Throws Error if process `pid` is in namespaces (namespaces(7)) that a restore could not put it into: other
// ones than ckptrun, or those that ckptrun has made for the program. Nothing if it has ended, or may not be
// looked at.
void refuse_other_namespaces(pid_t pid, const FamilyRoots& roots);

}  // namespace ckpt::engine
