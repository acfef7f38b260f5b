#include <fmt/format.h>

#include <string>

#include "child_run.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr const char* kName = "tree";

struct TreeSamples {
  std::vector<double> stopping_ms, frozen_ms;
};

// Of checkpoints that have little to copy: the first, which has all, is left out.
TreeSamples measure_tree(const Settings& settings, unsigned processes) {
  TreeSamples samples;
  SupervisedRun run(settings, kName, {},
                    {"/usr/bin/python3", CKPT_BENCH_SCRIPTS "/sleeps_as_tree.py", std::to_string(processes)});
  run.child().wait_for_line("ready");
  run.checkpoint();
  for (unsigned i = 0; i < settings.checkpoints; ++i) {
    run.checkpoint();
    const store::CheckpointStats stats = run.newest_version().description.stats;
    samples.stopping_ms.push_back(static_cast<double>(stats.freezing_time_us) / 1e3);
    samples.frozen_ms.push_back(static_cast<double>(stats.frozen_time_us) / 1e3);
  }
  run.forget();
  return samples;
}

}  // namespace

void measure_trees(const Settings& settings, Report& report, const char* row) {
  for (unsigned processes : {1U, 10U, 50U}) {
    const TreeSamples samples = measure_tree(settings, processes);
    report.add({.row = row,
                .what = fmt::format("{} processes: until all stand still; worst {:.2f}", processes,
                                    largest(samples.stopping_ms)),
                .measured = median(samples.stopping_ms),
                .unit = "ms"});
    report.add({.row = row,
                .what = fmt::format("{} processes: whole pause; worst {:.2f}", processes,
                                    largest(samples.frozen_ms)),
                .measured = median(samples.frozen_ms),
                .unit = "ms"});
  }
}

}  // namespace ckpt::bench
