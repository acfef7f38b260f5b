#include "engine/capture/capture.h"

#include "engine/capture/host.h"
#include "engine/capture/memory.h"
#include "engine/capture/threads.h"
#include "engine/image/image_file.h"
#include "engine/process/process_state.h"
#include "engine/resource/descriptors.h"

namespace ckpt::engine {
namespace {

// Mappings may have come and gone since the flags were read; then they are read again, at the price of a
// longer pause.
void refresh_flags(pid_t pid, MapFlagsTable& flags) {
  if (!flags.covers(read_memory_map(pid))) flags = MapFlagsTable::read(pid);
}

}  // namespace

CaptureResult capture_stopped(Tracee& tracee, const InterruptedCalls& calls, MapFlagsTable& flags,
                              FileIdentities& identities, store::CheckpointWriter& writer) {
  CaptureResult result;
  image::CheckpointT checkpoint;
  checkpoint.format = kImageFormat;
  checkpoint.host = describe_host();
  checkpoint.clocks = read_clocks(tracee.pid());
  checkpoint.process = std::make_unique<image::ProcessT>();
  image::ProcessT& process = *checkpoint.process;

  refresh_flags(tracee.pid(), flags);
  save_process_state(tracee, process, result.notes);
  for (StoppedThread& thread : tracee.threads())
    process.threads.push_back(save_thread(tracee, calls, thread));

  ObjectTable objects;
  SaveContext context{.pid = tracee.pid(),
                      .writer = writer,
                      .objects = objects,
                      .notes = result.notes,
                      .files_to_sync = result.files_to_sync};
  save_descriptors(context, process);
  MemoryTotals totals = MemoryCapture(tracee, flags, identities, objects, writer).run(process);
  checkpoint.objects = objects.take();

  result.image = pack_image(checkpoint);
  result.thread_count = static_cast<std::uint32_t>(process.threads.size());
  result.program_pid = process.pid;
  result.stats.mode = "copy";
  result.stats.pages_scanned = totals.pages_scanned;
  result.stats.resident_bytes = totals.resident_bytes;
  return result;
}

}  // namespace ckpt::engine
