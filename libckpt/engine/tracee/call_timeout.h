#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>

#include "engine/tracee/call_table.h"

namespace ckpt::engine {

// False only if the arguments alone tell that the call has no relative timeout.
bool may_time_out(const CallKind& kind, const CallArguments& arguments);

// The relative timeout that a call of process `pid` was made with; none if it waits for ever, has an absolute
// deadline, or does not tell (memory or descriptor changed meanwhile).
std::optional<std::chrono::nanoseconds> timeout_of_call(pid_t pid, const CallKind& kind,
                                                        const CallArguments& arguments);

// The time left that the kernel wrote where the call asked for it (which may be where its timeout was); only
// for a call that it has just interrupted.
std::optional<std::chrono::nanoseconds> remaining_of_call(pid_t pid, const CallKind& kind,
                                                          const CallArguments& arguments);

}  // namespace ckpt::engine
