#include "engine/capture/clock_offsets.h"

#include <fmt/format.h>
#include <unistd.h>

#include <sstream>

#include "base/file_io.h"

namespace ckpt::engine {

ClockOffsets clock_offsets_of(const std::string& process) {
  ClockOffsets offsets;
  std::string path = fmt::format("/proc/{}/timens_offsets", process);
  if (::access(path.c_str(), R_OK) != 0) return offsets;
  std::istringstream lines(read_file(path));  // "monotonic <seconds> <nanoseconds>"
  std::string clock;
  std::int64_t seconds = 0;
  std::int64_t nanoseconds = 0;
  while (lines >> clock >> seconds >> nanoseconds) {
    std::int64_t offset = seconds * 1'000'000'000 + nanoseconds;
    if (clock == "monotonic") offsets.monotonic_ns = offset;
    if (clock == "boottime") offsets.boottime_ns = offset;
  }
  return offsets;
}

}  // namespace ckpt::engine
