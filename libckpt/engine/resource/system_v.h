// System V objects of a program (sysvipc(7)): segments of shared memory that it has attached, semaphore sets
// and message queues that it was the last to use. They outlive the program: at restore they are set back to
// what they were, and made again, under the same id and key, if they are gone.
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>

#include "engine/resource/descriptors.h"

namespace ckpt::engine {

// Under this device number segments are kept in the table of shared objects: their inode is their id.
inline constexpr std::uint64_t kSegmentDevice = ~std::uint64_t{0};

// A segment as an object without content; Error if we may not look at it.
std::unique_ptr<image::SharedObjectT> describe_segment(std::int32_t id);

// Makes the segments of the checkpoint, or sets those that exist back to their content. One that nothing but
// being attached kept (IPC_RMID) may get another id, which is then in the checkpoint.
void restore_segments(image::CheckpointT& checkpoint, const store::CheckpointReader& reader);

// Semaphore sets and message queues that one of `processes` was the last to use.
void save_system_v(std::span<const pid_t> processes, image::CheckpointT& checkpoint);

// What the end of a process would add to the semaphores of the sets that have been saved (SEM_UNDO).
void save_undo(std::int32_t process, ProgramCalls& program, image::CheckpointT& checkpoint);

// Through the process itself, a relative of the program, after finish_system_v().
void finish_undo(const image::CheckpointT& checkpoint, std::int32_t process, ProgramCalls& program);

// Through `program`, so that it was the last to use them; removes segments that were only kept by being
// attached.
void finish_system_v(const image::CheckpointT& checkpoint, ProgramCalls& program);

}  // namespace ckpt::engine
