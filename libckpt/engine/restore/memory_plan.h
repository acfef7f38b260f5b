// Operations that turn the new process's address space into the old one.
#pragma once

#include <vector>

#include "engine/capture/memory_map.h"
#include "engine/restore/address_space.h"
#include "engine/restore/mapped_file_set.h"
#include "engine/restore/plan_builder.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// What the memory operations refer to.
struct MemoryPlanInput {
  const image::CheckpointT& checkpoint;
  // Pages of the process's space that are to be filled in; of processes that are forked from one another,
  // those of all.
  const std::vector<store::PageRun>& runs;
  const std::vector<MapEntry>& present;  // the new process as it is
  const WorkArea& area;
  const MappedFileSet& files;
  const std::vector<int>& object_descriptors;  // parallel to Checkpoint.objects
  std::uint64_t vdso_place = 0;  // of vvar and vDSO, which are another kernel's; 0: where they were
};

// First part: everything of the new program goes away, vvar and vDSO move to their place, all mappings
// appear, open for writing where content is to be filled in.
void plan_mappings(const MemoryPlanInput& input, PlanBuilder& plan);

// The same for a process that was forked from another one whose mappings are in place: of its own those that
// are `kept` (parallel to the process's mappings) are there already, and `present` is what a fork has left
// it. vvar and vDSO are where they belong.
void plan_forked_mappings(const MemoryPlanInput& input, const std::vector<bool>& kept, PlanBuilder& plan);

// Second part, after the content is there: protections, locks, the kernel's idea of the layout.
void plan_memory_completion(const MemoryPlanInput& input, PlanBuilder& plan);

}  // namespace ckpt::engine
