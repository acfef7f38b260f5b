// Processes that could not have their old ids go on seeing them, where the agent translates
// (agent/id_table.h): the supervisor writes the same table into all of them.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "engine/agent_tables.h"
#include "engine/process/id_map.h"

namespace ckpt::engine {

// A process that has its memory and has not run yet.
struct RenumberedProcess {
  std::string name;
  AgentTables tables;
};

// `ids`: from what the kernel called them in the checkpoint to what it calls them now. Earlier recovers may
// have given the processes a table already. Returns the names of those that see the new ids.
std::vector<std::string> keep_seen_ids(const std::vector<RenumberedProcess>& processes, const IdMap& ids);

}  // namespace ckpt::engine
