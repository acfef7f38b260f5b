// Where things go while a process is rebuilt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/remote_addr.h"
#include "engine/capture/memory_map.h"
#include "image_generated.h"

namespace ckpt::engine {

// A region that neither the new program's present mappings nor the old program's use: executor, its stack,
// the plan, a parking place for vvar and vDSO, and shared anonymous objects while their mappings are made.
// Removed at the end.
struct WorkArea {
  RemoteAddr start;
  std::uint64_t size_bytes = 0;

  RemoteAddr code;
  std::uint64_t code_bytes = 0;
  RemoteAddr stack_top;
  RemoteAddr plan;
  std::size_t plan_data_offset = 0;
  RemoteAddr parking;
  std::vector<RemoteAddr> objects;  // parallel to Checkpoint.objects; 0 where none is needed

  RemoteAddr end() const { return start + size_bytes; }
};

// Far from all that the program has, and from `area`, so that heap, stack and mappings can grow: in the
// middle of the largest hole. Throws Error if there is no room.
std::uint64_t choose_distant_place(const image::CheckpointT& checkpoint, const std::vector<MapEntry>& present,
                                   const WorkArea& area, std::uint64_t size_bytes);

// Throws Error if the address space has no hole of that size. `forks`: processes that are going to be forked
// from this one, and have their work areas in the same place.
WorkArea choose_work_area(const image::CheckpointT& checkpoint, const std::vector<MapEntry>& present,
                          std::uint64_t code_bytes, std::span<const image::ProcessT* const> forks = {});

}  // namespace ckpt::engine
