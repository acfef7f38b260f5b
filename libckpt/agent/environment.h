// The library in the environment of the program: ckptrun puts it last into LD_PRELOAD. Once it is loaded it
// takes itself out, so that the program finds LD_PRELOAD as its user gave it and its children run as they
// would without ckptrun. When the process that takes part executes another program, it goes back in
// (interposed_exec.cpp), so that it stays with it. kRunVariable stays: other copies of the library read it,
// and it names one process only.
#pragma once

#include <stddef.h>

namespace ckpt::agent {

inline constexpr char kPreloadVariable[] = "LD_PRELOAD";

// Room for what with_library() makes of `environment`, in bytes.
size_t environment_room(char* const* environment);
// `environment` with both variables, in `room`. As it is if this process does not take part, or the library
// was not preloaded.
char* const* with_library(char* const* environment, void* room);

}  // namespace ckpt::agent
