// Signals about descriptors: who gets SIGIO or SIGURG (F_SETOWN_EX), which signal it is (F_SETSIG), and
// O_ASYNC. Set last, by the program: the kernel remembers the credentials of whoever sets an owner, threads
// must exist, and nothing that happens to a description while it is built may be signalled.
#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

// `fd`: a copy of the program's descriptor.
void save_owner(SaveState& state, const OpenDescription& description, int fd, image::DescriptionT& saved);

void finish_owner(FinishState& state, const image::DescriptionT& description, int number);

}  // namespace ckpt::engine::resource
