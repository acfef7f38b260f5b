#pragma once

#include <cstdint>
#include <string>

namespace ckpt::engine {

// How far the clocks of a time namespace are ahead of the machine's (time_namespaces(7)).
struct ClockOffsets {
  std::int64_t monotonic_ns = 0;
  std::int64_t boottime_ns = 0;

  bool operator==(const ClockOffsets&) const = default;
};

// Of the namespace that children of `process` ("self" or a pid) are in; zero where the kernel has no time
// namespaces.
ClockOffsets clock_offsets_of(const std::string& process);

}  // namespace ckpt::engine
