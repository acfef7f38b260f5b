#include "rows.h"

#include <array>

namespace ckpt::bench {
namespace {

auto pauses(std::uint64_t resident_bytes, unsigned threads, double bound_ms) {
  return [=](const Settings& settings, Report& report, const char* row) {
    measure_pauses(settings, report, row, resident_bytes, threads, bound_ms);
  };
}

auto first(std::uint64_t resident_bytes, double bound_ms) {
  return [=](const Settings& settings, Report& report, const char* row) {
    measure_first_checkpoint(settings, report, row, resident_bytes, bound_ms);
  };
}

auto slowdown(const char* language, bool periodic, double bound_percent) {
  return [=](const Settings& settings, Report& report, const char* row) {
    measure_slowdown(settings, report, row, language, periodic, bound_percent);
  };
}

auto recover(std::uint64_t resident_bytes, double lazy_bound_ms) {
  return [=](const Settings& settings, Report& report, const char* row) {
    measure_recover(settings, report, row, resident_bytes, lazy_bound_ms);
  };
}

}  // namespace

std::span<const Row> all_rows() {
  static const std::array<Row, 17> rows{
      Row{"pause-1gib", "16 MiB dirtied per interval, 1 thread", pauses(kGib, 1, 5)},
      Row{"pause-1gib-64-threads", "the same by 64 threads", pauses(kGib, 64, 8)},
      Row{"pause-4gib", "16 MiB dirtied per interval, 1 thread", pauses(4 * kGib, 1, 8)},
      Row{"first-1gib", "first checkpoint while 16 MiB/s are dirtied", first(kGib, 10)},
      Row{"first-4gib", "first checkpoint while 16 MiB/s are dirtied", first(4 * kGib, 15)},
      Row{"slowdown-python", "CPU-bound, no checkpoints", slowdown("Python", false, 1)},
      Row{"slowdown-java", "CPU-bound, no checkpoints", slowdown("Java", false, 1)},
      Row{"slowdown-python-every-1s", "1 GiB, 1 % dirtied per second", slowdown("Python", true, 3)},
      Row{"slowdown-java-every-1s", "1 GiB, 1 % dirtied per second", slowdown("Java", true, 3)},
      Row{"recover-64mib", "lazy and eager, while 16 MiB/s are dirtied", recover(64 * kMib, 40)},
      Row{"recover-1gib", "lazy and eager, while 16 MiB/s are dirtied", recover(kGib, 60)},
      Row{"recover-4gib", "lazy and eager, while 16 MiB/s are dirtied", recover(4 * kGib, 80)},
      Row{"trees", "pause of 1, 10 and 50 processes that have little to copy", measure_trees},
      Row{"supervisor-memory", "64 MiB, 1 GiB and 4 GiB programs", measure_supervisor_memory},
      Row{"warm-start-java", "cold start against resuming", measure_warm_start},
      Row{"warm-start-python", "cold start against the example repository", measure_repository},
      Row{"agent-calls", "what libckpt adds to each call", measure_agent_calls},
  };
  return rows;
}

}  // namespace ckpt::bench
