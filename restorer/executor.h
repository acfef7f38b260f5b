#pragma once

#include "plan/plan.h"

namespace ckpt::restorer {

// Runs the operations that follow `header` in memory, in order, until one has an unexpected result. Writes
// each result and the outcome into the plan. A plan with another magic number is left alone.
void execute(plan::PlanHeader* header);

}  // namespace ckpt::restorer
