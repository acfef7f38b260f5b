#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/remote_addr.h"
#include "engine/restore/user_faults.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Consecutive pages of a space and where they go.
struct FillPart {
  store::SpaceId space;
  store::PageRun run;
  RemoteAddr to;
  bool watched;  // nothing is there yet, and the mapping is watched by a userfaultfd of ours
};

// Adds `runs`, whose page 0 belongs at `origin`, in parts of a size that suits reading.
void add_parts(const std::vector<store::PageRun>& runs, store::SpaceId space, RemoteAddr origin, bool watched,
               std::vector<FillPart>& parts);

// Puts the parts into the memory of the stopped process, in parallel, every page's digest verified by the
// store on the way. Watched parts are installed through `faults`, which saves the process a page fault and
// the kernel the clearing of each page. Throws the first Error that any thread met.
void fill_memory(pid_t pid, const store::CheckpointReader& reader, const std::vector<FillPart>& parts,
                 const UserFaults* faults);

}  // namespace ckpt::engine
