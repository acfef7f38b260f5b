#include "engine/capture/threads.h"

#include "engine/tracee/arch/x86_64/extended_state.h"
#include "engine/tracee/arch/x86_64/register_image.h"
#include "engine/tracee/rseq_section.h"

namespace ckpt::engine {
namespace {

void save_one(Tracee& tracee, const InterruptedCalls& calls, const StoppedThread& thread,
              image::ThreadT& state) {
  user_regs_struct registers = calls.image_registers(tracee, thread);
  // A thread that has made remote calls has been moved out of its section for them.
  if (!thread.borrowed) {
    if (auto section = rseq_section_of(tracee.pid(), thread.tid, registers.rip))
      registers.rip = section->abort.value;
  }
  state.registers = arch::to_image(registers);
  state.xsave = arch::save_extended_state(thread.tid);
  state.timed_call = calls.timed_call(thread);
}

}  // namespace

void save_registers(Tracee& tracee, const InterruptedCalls& calls, image::ProcessT& process) {
  for (std::size_t i = 0; i < process.threads.size(); ++i)
    save_one(tracee, calls, tracee.threads()[i], *process.threads[i]);
}

}  // namespace ckpt::engine
