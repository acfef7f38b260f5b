// The library in the environment of the program and of whatever descends from it: ckptrun puts it last into
// LD_PRELOAD. Once it is loaded it takes itself out, so that a program finds LD_PRELOAD as its user gave it.
// When a process executes another program it goes back in (interposed_exec.cpp), and so do the ids that the
// process sees in place of the kernel's, if there are any (agent/ids.h). kRunVariable stays: it names the one
// process that takes part, and whatever has it belongs to that. A process that has taken it out is left
// alone.
#pragma once

#include <stddef.h>

namespace ckpt::agent {

inline constexpr char kPreloadVariable[] = "LD_PRELOAD";

// Room for what with_library() makes of `environment`, in bytes.
size_t environment_room(char* const* environment);
// `environment` with these variables, in `room`, for a program that takes them. As it is for one that does
// not (base/takes_preload.h), if this process is to be left alone, or if the library was not preloaded.
enum class Program { kPath, kNameInPath };
char* const* with_library(const char* program, Program how, char* const* environment, void* room);

}  // namespace ckpt::agent
