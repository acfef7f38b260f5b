// Restartable sequences (rseq(2), linux/rseq.h): a thread stopped inside one must not be made to run anything
// else, and comes back at the section's abort address.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/remote_addr.h"

namespace ckpt::engine {

struct RseqSection {
  RemoteAddr abort;    // where the kernel would send the thread
  RemoteAddr pointer;  // the field rseq_cs, to be cleared
};

// What the kernel writes to whenever the thread comes to another processor.
struct RseqArea {
  RemoteAddr start;
  std::uint64_t size_bytes;
};
std::optional<RseqArea> rseq_area_of(pid_t tid);  // of a stopped thread; none if it has not registered any

// The critical section that a stopped thread is in, if any. Costs one ptrace call and one remote read.
std::optional<RseqSection> rseq_section_of(pid_t pid, pid_t tid, std::uint64_t instruction);

}  // namespace ckpt::engine
