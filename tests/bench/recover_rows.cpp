#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "bare_fill.h"
#include "base/error.h"
#include "dirtier.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr const char* kName = "recover";

struct Times {
  std::vector<double> output_ms;   // to its first new output
  std::vector<double> touched_ms;  // until it has touched every page
  std::string stages;              // of the last one, as ckptrun -v tells them

  nlohmann::json json() const {
    return {{"first_output_ms", output_ms}, {"all_touched_ms", touched_ms}, {"stages", stages}};
  }
};

std::string segment_of(const Settings& settings) {
  for (const auto& entry : std::filesystem::directory_iterator(store_of(settings) + "/" + kName)) {
    if (entry.path().extension() == ".ckpt") return entry.path();
  }
  throw Error("no segment in the store");
}

void set_cache(const Settings& settings, const std::string& segment) {
  if (settings.cold)
    drop_from_page_cache(segment);
  else
    warm_page_cache(segment);
}

std::string stages_line(const std::string& messages) {
  const std::size_t at = messages.rfind("resumed ");
  return at == std::string::npos ? "" : messages.substr(at, messages.find('\n', at) - at);
}

void recover_once(const Settings& settings, DirtierPage& page, const char* option, Times& times) {
  set_cache(settings, segment_of(settings));
  ++page.control().say;
  ++page.control().touch;
  SupervisedRun run(settings, kName, {option});
  ChildRun& child = run.child();
  times.output_ms.push_back(milliseconds(child.wait_for_line("said").when - child.started()));
  times.touched_ms.push_back(milliseconds(child.wait_for_line("touched").when - child.started()));
  times.stages = stages_line(run.error_output());
  run.kill();
}

// A program with one full version in the store; killed.
std::uint64_t prepare(const Settings& settings, const DirtierOptions& options,
                      const std::string& control_file) {
  SupervisedRun run(settings, kName, {}, dirtier_command(settings, options, control_file));
  run.child().wait_for_line("ready");
  run.checkpoint();
  const std::uint64_t bytes = run.newest_version().segment_bytes;
  run.kill();
  return bytes;
}

void report_lazy(Report& report, const char* row, const Times& lazy, const Times& eager, double bound_ms) {
  report.add(
      {.row = row,
       .what = fmt::format("lazy, to the first new output, median; worst {:.1f}", largest(lazy.output_ms)),
       .measured = median(lazy.output_ms),
       .unit = "ms",
       .kind = Bound::kAtMost,
       .bound = bound_ms,
       .details = lazy.json()});
  report.add({.row = row,
              .what = fmt::format("every page touched, lazy {:.0f} ms / eager {:.0f} ms",
                                  median(lazy.touched_ms), median(eager.touched_ms)),
              .measured = median(lazy.touched_ms) / median(eager.touched_ms),
              .unit = "",
              .kind = Bound::kAtMost,
              .bound = 1.5});
}

void report_eager(Report& report, const char* row, const Times& eager, double bytes,
                  const std::vector<double>& bare_rates) {
  report.add({.row = row,
              .what = "eager, to the first new output, median",
              .measured = median(eager.output_ms),
              .unit = "ms",
              .details = eager.json()});
  const double rate = bytes / (median(eager.output_ms) / 1e3);
  report.add(
      {.row = row,
       .what = fmt::format("eager {:.2f} GB/s / bare fill {:.2f} GB/s", rate / 1e9, median(bare_rates) / 1e9),
       .measured = rate / median(bare_rates),
       .unit = "",
       .kind = Bound::kAtLeast,
       .bound = 0.8,
       .details = {{"bare_bytes_per_second", bare_rates}}});
}

}  // namespace

void measure_recover(const Settings& settings, Report& report, const char* row, std::uint64_t resident_bytes,
                     double lazy_bound_ms) {
  const DirtierOptions options{
      .resident_bytes = resident_bytes, .dirty_bytes_per_second = 16 * kMib, .calm = true};
  const std::string control_file = settings.directory + "/control";
  DirtierPage page(control_file);
  const std::uint64_t segment_bytes = prepare(settings, options, control_file);
  const bool lazy_permitted = ::geteuid() == 0;
  Times eager;
  Times lazy;
  std::vector<double> bare_rates;
  for (unsigned i = 0; i < settings.runs; ++i) {
    set_cache(settings, segment_of(settings));
    bare_rates.push_back(bare_fill_rate(segment_of(settings), std::min(segment_bytes, resident_bytes)));
    recover_once(settings, page, "--eager", eager);
    if (lazy_permitted) recover_once(settings, page, "--lazy", lazy);
  }
  if (lazy_permitted) {
    report_lazy(report, row, lazy, eager, lazy_bound_ms);
  } else {
    report.note(row, "lazy: not measured, only root may do it here");
  }
  report_eager(report, row, eager, static_cast<double>(resident_bytes), bare_rates);
  store::Store::open(store_of(settings), false).remove_application(kName);
}

}  // namespace ckpt::bench
