// What the program meant by its calls, as the agent wrote it down (agent/intent.h), added to the image where
// it agrees with what the kernel says.
#pragma once

#include <string>
#include <vector>

#include "engine/agent_tables.h"
#include "engine/capture/memory_map.h"
#include "image_generated.h"

namespace ckpt::engine {

// After mappings and descriptors have been described.
void describe_intent(const AgentTables& tables, const std::vector<MapEntry>& maps, image::ProcessT& process);

// The file of the library or program that opened descriptor `number`, if that is what /proc/PID/fd says that
// it is (`link`); empty if that is not known.
std::string opener_of(const AgentTables& tables, const std::vector<MapEntry>& maps, int number,
                      const std::string& link);

}  // namespace ckpt::engine
