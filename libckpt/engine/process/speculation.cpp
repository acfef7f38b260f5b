#include "engine/process/speculation.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <string_view>

namespace ckpt::engine {
namespace {

// "thread mitigated", "conditional force disabled", ...; those without "thread" or "conditional" are the
// machine's.
std::uint32_t control_in(std::string_view text) {
  for (std::string_view own : {"thread ", "conditional "}) {
    if (!text.starts_with(own)) continue;
    std::string_view state = text.substr(own.size());
    if (state.starts_with("force ")) return PR_SPEC_FORCE_DISABLE;
    return state == "mitigated" || state == "disabled" ? PR_SPEC_DISABLE : 0;
  }
  return 0;
}

void plan_control(const image::ThreadT& thread, unsigned long which, std::uint32_t control,
                  PlanBuilder& plan) {
  if (control == 0) return;
  plan.attempt(fmt::format("speculation of thread {}", thread.tid), SYS_prctl,
               {PR_SET_SPECULATION_CTRL, which, control, 0, 0});
}

}  // namespace

void save_speculation(const ProcStatus& status, image::ThreadT& state) {
  state.store_bypass = control_in(status.text("Speculation_Store_Bypass"));
  state.indirect_branch = control_in(status.text("SpeculationIndirectBranch"));
}

void plan_speculation(const image::ThreadT& thread, PlanBuilder& plan) {
  plan_control(thread, PR_SPEC_STORE_BYPASS, thread.store_bypass, plan);
  plan_control(thread, PR_SPEC_INDIRECT_BRANCH, thread.indirect_branch, plan);
}

}  // namespace ckpt::engine
