// Descriptors of a process that was forked from one that has all descriptions it needs.
#pragma once

#include <span>

#include "engine/resource/descriptors.h"
#include "engine/restore/plan_builder.h"

namespace ckpt::engine {

// Whether all that a process itself has to do about its descriptors can be planned.
bool can_plan_descriptors(const ProcessView& view);

// Every descriptor at its number, and no other below `scratch_base`. `numbers`: where the process has the
// descriptions that it needs, by their index; all are at `scratch_base` or above.
void plan_forked_descriptors(const ProcessView& view, std::span<const std::int32_t> numbers, int scratch_base,
                             PlanBuilder& plan);

}  // namespace ckpt::engine
