// Contexts of Linux AIO (io_setup(2)) at rest: no request is under way; what has completed and was not read
// waits in the ring, which the kernel maps into the program. The ring's address is the context's id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/resource/descriptors.h"
#include "engine/resource/program_calls.h"
#include "image_generated.h"

namespace ckpt::engine {

// Of the mappings that are rings, in /proc/PID/maps.
inline constexpr std::string_view kAioRingPath = "/[aio] (deleted)";

// Fills process.aio_contexts. context.calls is set. Throws Error for one that is not at rest.
void save_aio_contexts(SaveContext& context, image::ProcessT& process);

// When the program has all its other memory.
void finish_aio_contexts(const image::CheckpointT& checkpoint, ProgramCalls& program);

namespace resource {

// The events of a ring from `head` to `tail`, oldest first. `ring` is all of its memory; Error if it is none.
std::vector<std::byte> waiting_events(std::span<const std::byte> ring);

// How many requests a ring of `event_count` takes where the kernel knows `processors`, if no event waits.
std::uint32_t room_for_requests(std::uint32_t event_count, std::uint32_t processors);

// For io_setup(2), so that the ring becomes `size_bytes` long.
std::uint32_t requests_for_ring(std::uint64_t size_bytes);

}  // namespace resource
}  // namespace ckpt::engine
