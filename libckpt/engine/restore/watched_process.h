// A userfaultfd over the memory of the process being rebuilt, held by us alone.
#pragma once

#include <optional>

#include "base/unique_fd.h"
#include "engine/restore/puppet.h"
#include "engine/restore/user_faults.h"

namespace ckpt::engine {

// The device that makes userfaultfds for faults inside the kernel too, for whoever holds it open; none if
// that is not permitted. At a descriptor >= `scratch_base`, close-on-exec.
UniqueFd open_fault_device(int scratch_base);

// Made by the process itself, taken out of it, started. Empty if the kernel or its policy does not allow all
// of that.
//
// To run with memory missing: all faults, all events; through the device if it is not -1 (a descriptor of the
// process).
std::optional<UserFaults> take_user_faults(Puppet& puppet, int device, Watching watching = Watching::kFaults);
// To be filled while it stands still.
std::optional<UserFaults> take_filling_faults(Puppet& puppet);

}  // namespace ckpt::engine
