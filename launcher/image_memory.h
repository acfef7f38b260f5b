// What a version tells of the memory of a process: its mappings and how much of each it holds, its
// environment.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::image {
struct Checkpoint;
struct Mapping;
struct Process;
}  // namespace ckpt::image

namespace ckpt::launcher {

// The path of its file, or what /proc/PID/maps calls it; may be empty.
std::string mapping_name(const image::Process& process, const image::Mapping& mapping);

// How many pages of `runs`, which ascend, lie between two addresses.
std::uint64_t pages_within(const std::vector<store::PageRun>& runs, std::uint64_t start, std::uint64_t end);

// {"mapping_count", "kinds":[...], "mappings":[...], "files":[...]} of the program. `before` is the version
// that this one builds on; nullptr: there is none any more. "damage" says which page tree cannot be read.
nlohmann::ordered_json memory_json(const image::Checkpoint& checkpoint,
                                   const store::CheckpointReader& version,
                                   const store::CheckpointReader* before);
// The same for people, several lines.
std::string memory_text(const nlohmann::ordered_json& memory);

// "NAME=VALUE" for each variable that the program was started with, as it stands in its memory.
std::vector<std::string> environment_of(const image::Process& process,
                                        const store::CheckpointReader& version);

}  // namespace ckpt::launcher
