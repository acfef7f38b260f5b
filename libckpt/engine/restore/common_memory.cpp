#include "engine/restore/common_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kWorthMentioning = 64U << 20;

std::uint64_t bytes_in_common(std::vector<store::StoredRun> runs) {
  std::ranges::sort(runs, {}, [](const store::StoredRun& run) { return std::tuple(run.segment, run.unit); });
  std::uint64_t common = 0;
  store::Version segment = 0;
  std::uint64_t seen = 0;  // the units of `segment` up to here
  for (const store::StoredRun& run : runs) {
    if (run.segment != segment) seen = 0;
    segment = run.segment;
    std::uint64_t end = run.unit + run.run.page_count;
    if (run.unit < seen) common += std::min(end, seen) - run.unit;
    seen = std::max(seen, end);
  }
  return common * store::kPageBytes;
}

}  // namespace

std::string common_memory_note(std::vector<store::StoredRun> runs) {
  std::uint64_t bytes = bytes_in_common(std::move(runs));
  if (bytes < kWorthMentioning) return {};
  return fmt::format("memory that the processes had in common since fork is each one's own now: {} MiB more",
                     bytes >> 20U);
}

}  // namespace ckpt::engine
