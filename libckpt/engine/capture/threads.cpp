#include "engine/capture/threads.h"

#include "engine/process/process_state.h"
#include "engine/tracee/arch/x86_64/extended_state.h"
#include "engine/tracee/arch/x86_64/register_image.h"
#include "engine/tracee/rseq_section.h"

namespace ckpt::engine {

std::unique_ptr<image::ThreadT> save_thread(Tracee& tracee, const InterruptedCalls& calls,
                                            StoppedThread& thread) {
  auto state = std::make_unique<image::ThreadT>();
  user_regs_struct registers = calls.image_registers(tracee, thread);
  if (auto section = rseq_section_of(tracee.pid(), thread.tid, registers.rip))
    registers.rip = section->abort.value;
  state->registers = arch::to_image(registers);
  state->xsave = arch::save_extended_state(thread.tid);
  state->timed_call = calls.timed_call(thread);
  save_thread_state(tracee, thread, *state);
  return state;
}

}  // namespace ckpt::engine
