#include "engine/capture/capture.h"

#include "base/error.h"
#include "engine/capture/host.h"
#include "engine/capture/pinned_writers.h"
#include "engine/capture/threads.h"
#include "engine/capture/tracee_program.h"
#include "engine/capture/written_files.h"
#include "engine/image/image_file.h"
#include "engine/process/process_state.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/system_v.h"

namespace ckpt::engine {

StoppedState capture_stopped(Tracee& tracee, const CaptureContext& context) {
  StoppedState state;
  state.checkpoint.format = kImageFormat;
  state.checkpoint.host = describe_host();
  state.checkpoint.clocks = read_clocks(tracee.pid());
  state.checkpoint.process = std::make_unique<image::ProcessT>();
  image::ProcessT& process = *state.checkpoint.process;

  // Mappings may have come and gone since the flags were read; then the pause is longer.
  if (!context.flags.covers(context.maps)) context.flags = MapFlagsTable::read(tracee.pid());
  context.clock.done("mappings");
  save_process_state(tracee, process);
  context.clock.done("process");
  save_registers(tracee, context.calls, process);
  context.clock.done("registers");

  // Numbers of spaces mean something else in every version, except the process's own.
  for (store::SpaceId space : context.writer.parent_spaces()) {
    if (space != kProcessSpace) context.writer.keep_only(space, {});
  }
  ObjectTable objects;
  TraceeProgram calls(tracee);
  SaveContext save{.pid = tracee.pid(),
                   .writer = context.writer,
                   .objects = objects,
                   .notes = state.notes,
                   .files_to_sync = state.files_to_sync,
                   .calls = &calls};
  save_descriptors(save, process);
  if (context.tracker != nullptr && has_pinned_writers(process))
    throw Error("the program opened an io_uring while the checkpoint was made; make another");
  save_system_v(save, state.checkpoint);
  context.clock.done("descriptors");
  state.memory = MemoryCapture(tracee, context.flags, context.identities, objects, context.writer,
                               context.tracker, context.needs, context.threads, context.known_content)
                     .run(context.maps, process);
  context.clock.done("survey");
  if (context.with_files) {
    save_written_files(save, process);
    context.clock.done("files");
  }
  state.checkpoint.objects = objects.take();
  return state;
}

}  // namespace ckpt::engine
