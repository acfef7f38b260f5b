#include <fmt/format.h>

#include <array>

#include "dirtier.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr const char* kName = "memory";
constexpr unsigned kCheckpoints = 5;
constexpr double kBoundMib = 128;

// The most that ckptrun ever held while it checkpointed, and while it resumed and checkpointed again.
std::vector<double> peaks(const Settings& settings, std::uint64_t resident_bytes) {
  const std::string control_file = settings.directory + "/control";
  const DirtierOptions options{.resident_bytes = resident_bytes, .dirty_bytes_per_second = 16 * kMib};
  DirtierPage page(control_file);
  std::vector<double> mib;
  {
    SupervisedRun run(settings, kName, {}, dirtier_command(settings, options, control_file));
    run.child().wait_for_line("ready");
    for (unsigned i = 0; i < kCheckpoints; ++i) run.checkpoint();
    mib.push_back(run.peak_supervisor_mib());
    run.kill();
  }
  ++page.control().touch;
  SupervisedRun resumed(settings, kName, {});
  resumed.child().wait_for_line("touched");
  for (unsigned i = 0; i < kCheckpoints; ++i) resumed.checkpoint();
  mib.push_back(resumed.peak_supervisor_mib());
  resumed.forget();
  return mib;
}

}  // namespace

void measure_supervisor_memory(const Settings& settings, Report& report, const char* row) {
  for (std::uint64_t resident : {64 * kMib, kGib, 4 * kGib}) {
    const std::vector<double> mib = peaks(settings, resident);
    report.add({.row = row,
                .what = fmt::format("peak, program of {} MiB: run {:.1f}, resumed {:.1f}", resident / kMib,
                                    mib[0], mib[1]),
                .measured = largest(mib),
                .unit = "MiB",
                .kind = Bound::kAtMost,
                .bound = kBoundMib});
  }
}

}  // namespace ckpt::bench
