// Functions of the program that run around its checkpoints, in a thread that exists only if there are any.
#pragma once

#include "agent/agent_table.h"

namespace ckpt::agent {

bool in_hook_thread();

// Starts the thread if there is none yet. Returns 0, or a negative errno.
int need_hook_thread(AgentTable& table);

// After a recover: returns when the functions for it have run.
void wait_for_restore_hooks(AgentTable& table);

}  // namespace ckpt::agent
