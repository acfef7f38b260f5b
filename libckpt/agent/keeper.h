// The library that keeps memory elsewhere (ckpt/keeper.h), if there is one. All of this is for the thread
// that runs hooks.
#pragma once

#include "agent/agent_table.h"

namespace ckpt::agent {

// The thread begins: it is the one that runs it.
void adopt_keeper(AgentTable& table);

// Does what the supervisor wants, and returns in a moment. False if there is no keeper.
bool obey_keeper_commands(AgentTable& table);

// The checkpoint is over.
void let_keeper_go_on(AgentTable& table);

// In a process that was recovered.
void bring_keeper_back(AgentTable& table);

}  // namespace ckpt::agent
