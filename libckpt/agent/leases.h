// Leases that the program has registered with ckpt_lease(). Their functions run in the thread of hooks.cpp.
#pragma once

#include "agent/agent_table.h"

namespace ckpt::agent {

// Before a suspend: those that are held are given back.
void expire_leases(AgentTable& table);
// After a restore, or a suspend that failed: all are established again, where possible.
void establish_leases(AgentTable& table);
// Those that expire_leases() gave back, if any.
void establish_expired_leases(AgentTable& table);

}  // namespace ckpt::agent
