// What can be measured: a table of rows. Each row starts what it needs, measures, reports, and leaves nothing
// behind.
#pragma once

#include <functional>
#include <span>

#include "report.h"
#include "settings.h"

namespace ckpt::bench {

struct Row {
  const char* name;
  const char* what;
  std::function<void(const Settings&, Report&, const char* row)> measure;
};

std::span<const Row> all_rows();

// Largest gap in each interval with a checkpoint, less that of intervals without; pages and bytes written.
void measure_pauses(const Settings& settings, Report& report, const char* row, std::uint64_t resident_bytes,
                    unsigned threads, double bound_ms);
// The first checkpoint of a program: its pause, and how fast it is written.
void measure_first_checkpoint(const Settings& settings, Report& report, const char* row,
                              std::uint64_t resident_bytes, double bound_ms);
// A program that computes, with and without ckptrun.
void measure_slowdown(const Settings& settings, Report& report, const char* row, const char* language,
                      bool periodic, double bound_percent);
// Resuming, eagerly and lazily.
void measure_recover(const Settings& settings, Report& report, const char* row, std::uint64_t resident_bytes,
                     double lazy_bound_ms);
// How long trees of several processes stand still.
void measure_trees(const Settings& settings, Report& report, const char* row);
void measure_supervisor_memory(const Settings& settings, Report& report, const char* row);
// A Java program that has to warm up, started cold and resumed.
void measure_warm_start(const Settings& settings, Report& report, const char* row);
// What the preloaded library adds to each call that it stands in front of.
void measure_agent_calls(const Settings& settings, Report& report, const char* row);
// The example of a warm repository: a Python script with many modules, started cold and run in the
// repository.
void measure_repository(const Settings& settings, Report& report, const char* row);

}  // namespace ckpt::bench
