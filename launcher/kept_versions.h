// Versions of heaps that belong to versions of a program (VersionDescription::kept): they go with them.
#pragma once

#include <functional>

#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// Runs `removal`, which removes versions of the application or all of it, and then removes whatever heaps
// have stored for the application and none of its versions needs. What cannot be removed stays; `ckpt heap
// versions` shows it. False if no version needed any.
bool remove_with_kept(const store::Application& application, const std::function<void()>& removal);

}  // namespace ckpt::launcher
