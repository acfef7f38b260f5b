#include "engine/restore/clock_continuity.h"

#include <unistd.h>

#include <memory>

#include "engine/capture/host.h"

namespace ckpt::engine {

std::optional<ClockOffsets> needed_offsets(const image::CheckpointT& checkpoint) {
  const image::ClocksT& then = *checkpoint.clocks;
  ClockOffsets ours = clock_offsets_of("self");
  ClockOffsets wanted{.monotonic_ns = then.monotonic_offset_ns, .boottime_ns = then.boottime_offset_ns};
  if (boot_id() != checkpoint.host->boot_id) {
    std::unique_ptr<image::ClocksT> now = read_clocks(::getpid());
    wanted.monotonic_ns = then.monotonic_ns - (now->monotonic_ns - ours.monotonic_ns);
    wanted.boottime_ns = then.boottime_ns - (now->boottime_ns - ours.boottime_ns);
  }
  if (wanted == ours) return std::nullopt;
  return wanted;
}

ClockOffsets jump_without(const ClockOffsets& wanted) {
  ClockOffsets ours = clock_offsets_of("self");
  return {.monotonic_ns = ours.monotonic_ns - wanted.monotonic_ns,
          .boottime_ns = ours.boottime_ns - wanted.boottime_ns};
}

}  // namespace ckpt::engine
