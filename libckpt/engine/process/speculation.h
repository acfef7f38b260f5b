// Mitigations of speculative execution that a thread has asked for (PR_SET_SPECULATION_CTRL).
#pragma once

#include "engine/process/proc_status.h"
#include "engine/restore/plan_builder.h"
#include "image_generated.h"

namespace ckpt::engine {

void save_speculation(const ProcStatus& status, image::ThreadT& state);

// For the thread itself. Processors that have no need of it refuse it, which is no loss.
void plan_speculation(const image::ThreadT& thread, PlanBuilder& plan);

}  // namespace ckpt::engine
