#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <thread>

#include "base/error.h"
#include "base/file_io.h"
#include "dirtier.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr std::uint64_t kPageBytes = store::kPageBytes;
constexpr std::uint64_t kDirtyBytes = 16 * kMib;
constexpr std::size_t kWriteBytes = 4 * kMib;

// What the supervisor says of its checkpoints, a sample of each.
struct Stages {
  std::vector<double> freezing_ms, frozen_ms, memdump_ms, memwrite_ms;
  std::map<std::string, int> modes;

  void add(const store::CheckpointStats& stats) {
    auto ms = [](std::uint64_t microseconds) { return static_cast<double>(microseconds) / 1e3; };
    freezing_ms.push_back(ms(stats.freezing_time_us));
    frozen_ms.push_back(ms(stats.frozen_time_us));
    memdump_ms.push_back(ms(stats.memdump_time_us));
    memwrite_ms.push_back(ms(stats.memwrite_time_us));
    ++modes[stats.mode];
  }
  nlohmann::json json() const {
    return {{"modes", modes},
            {"median_freezing_ms", median(freezing_ms)},
            {"median_frozen_ms", median(frozen_ms)},
            {"median_memdump_ms", median(memdump_ms)},
            {"median_memwrite_ms", median(memwrite_ms)}};
  }
};

struct PauseSamples {
  std::vector<double> without_ms;  // largest gap of each interval without a checkpoint
  std::vector<double> with_ms;
  Stages stages;
  std::uint64_t pages_written = 0;
  std::uint64_t segment_bytes = 0;
  std::uint64_t pages_dirtied = 0;
};

void sleep_until_end(Clock::time_point begin, std::chrono::nanoseconds interval) {
  std::this_thread::sleep_until(begin + interval);
}

void measure_without(const Settings& settings, DirtierPage& page, std::vector<double>& samples) {
  page.next_window();
  for (unsigned i = 0; i < settings.checkpoints; ++i) {
    sleep_until_end(Clock::now(), settings.interval);
    samples.push_back(page.next_window());
  }
}

// The checkpoint before the first interval is the full one. What it and the last one dirty beside their
// interval is counted neither here nor there: pages dirtied are counted from one request to the other.
void measure_with(const Settings& settings, SupervisedRun& run, DirtierPage& page, PauseSamples& samples) {
  std::uint64_t dirtied = page.control().pages_dirtied;
  run.checkpoint();
  sleep_until_end(Clock::now(), settings.interval);
  page.next_window();
  for (unsigned i = 0; i < settings.checkpoints; ++i) {
    const Clock::time_point begin = Clock::now();
    samples.pages_dirtied += page.control().pages_dirtied - dirtied;
    dirtied = page.control().pages_dirtied;
    run.checkpoint();
    sleep_until_end(begin, settings.interval);
    samples.with_ms.push_back(page.next_window());
    const store::VersionEntry version = run.newest_version();
    samples.stages.add(version.description.stats);
    samples.pages_written += version.description.stats.pages_written;
    samples.segment_bytes += version.segment_bytes;
  }
}

void add_pause(Report& report, const char* row, const PauseSamples& samples, const char* which,
               double fraction, double bound_ms) {
  const double with = quantile(samples.with_ms, fraction);
  const double without = quantile(samples.without_ms, fraction);
  report.add({.row = row,
              .what = fmt::format("gap in the program, {}: {:.2f} less {:.2f} without", which, with, without),
              .measured = with - without,
              .unit = "ms",
              .kind = Bound::kAtMost,
              .bound = bound_ms,
              .details = {{"with_ms", with}, {"without_ms", without}}});
}

void report_pauses(Report& report, const char* row, const PauseSamples& samples, double bound_ms) {
  add_pause(report, row, samples, "median", 0.5, bound_ms);
  add_pause(report, row, samples, "p99", 0.99, bound_ms);
  add_pause(report, row, samples, "worst", 1, bound_ms);
  const std::vector<double>& frozen = samples.stages.frozen_ms;
  report.add({.row = row,
              .what = fmt::format("frozen_time_us, median; p99 {:.2f}, worst {:.2f} ms",
                                  quantile(frozen, 0.99), largest(frozen)),
              .measured = median(frozen),
              .unit = "ms",
              .kind = Bound::kAtMost,
              .bound = bound_ms,
              .details = samples.stages.json()});
  const auto dirtied = static_cast<double>(samples.pages_dirtied * kPageBytes);
  report.add({.row = row,
              .what = fmt::format("page data written / bytes dirtied ({:.1f} MiB each)",
                                  dirtied / static_cast<double>(samples.with_ms.size() * kMib)),
              .measured = static_cast<double>(samples.pages_written * kPageBytes) / dirtied,
              .unit = "",
              .kind = Bound::kAtMost,
              .bound = 1.01});
  report.add({.row = row,
              .what = "segment / bytes dirtied",
              .measured = static_cast<double>(samples.segment_bytes) / dirtied,
              .unit = "",
              .kind = Bound::kAtMost,
              .bound = 1.05});
}

std::uint64_t per_second(std::uint64_t bytes, std::chrono::nanoseconds interval) {
  return static_cast<std::uint64_t>(static_cast<double>(bytes) / seconds(interval));
}

// Bytes per second of plain sequential writing past the page cache, synced at its end.
double direct_write_rate(const std::string& path, std::uint64_t bytes) {
  std::unique_ptr<std::byte, decltype(&std::free)> buffer(
      static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kWriteBytes)), &std::free);
  for (std::size_t i = 0; i < kWriteBytes; ++i)
    buffer.get()[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  UniqueFd file = open_or_throw(path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0600);
  const Clock::time_point begin = Clock::now();
  for (std::uint64_t at = 0; at < bytes; at += kWriteBytes) {
    pwrite_all(file.get(), {buffer.get(), std::min<std::size_t>(kWriteBytes, bytes - at)}, at, path);
  }
  if (::fdatasync(file.get()) != 0) throw_errno("sync " + path);
  const double rate = static_cast<double>(bytes) / seconds(Clock::now() - begin);
  if (::unlink(path.c_str()) != 0) throw_errno("remove " + path);
  return rate;
}

struct FirstSamples {
  std::vector<double> pause_ms, frozen_ms, rate_ratio, rates, direct_rates;
  Stages stages;
};

void measure_first_once(const Settings& settings, const DirtierOptions& options, FirstSamples& samples) {
  const std::string control_file = settings.directory + "/control";
  DirtierPage page(control_file);
  SupervisedRun run(settings, "first", {}, dirtier_command(settings, options, control_file));
  run.child().wait_for_line("ready");
  page.next_window();
  const Clock::time_point begin = Clock::now();
  run.checkpoint();
  const Clock::duration taken = Clock::now() - begin;
  const double with = page.next_window();
  std::this_thread::sleep_for(taken);
  const double without = page.next_window();
  const store::VersionEntry version = run.newest_version();
  samples.pause_ms.push_back(with - without);
  samples.frozen_ms.push_back(static_cast<double>(version.description.stats.frozen_time_us) / 1e3);
  samples.stages.add(version.description.stats);
  run.forget();
  const double rate = static_cast<double>(version.segment_bytes) / seconds(taken);
  const double direct =
      direct_write_rate(settings.directory + "/direct", version.segment_bytes / kPageBytes * kPageBytes);
  samples.rates.push_back(rate);
  samples.direct_rates.push_back(direct);
  samples.rate_ratio.push_back(rate / direct);
}

}  // namespace

void measure_pauses(const Settings& settings, Report& report, const char* row, std::uint64_t resident_bytes,
                    unsigned threads, double bound_ms) {
  const DirtierOptions options{.resident_bytes = resident_bytes,
                               .dirty_bytes_per_second = per_second(kDirtyBytes, settings.interval),
                               .threads = threads};
  const std::string control_file = settings.directory + "/control";
  PauseSamples samples;
  for (unsigned i = 0; i < settings.runs; ++i) {
    DirtierPage page(control_file);
    SupervisedRun run(settings, "pause", {}, dirtier_command(settings, options, control_file));
    run.child().wait_for_line("ready");
    measure_without(settings, page, samples.without_ms);
    measure_with(settings, run, page, samples);
    run.forget();
  }
  report_pauses(report, row, samples, bound_ms);
}

void measure_first_checkpoint(const Settings& settings, Report& report, const char* row,
                              std::uint64_t resident_bytes, double bound_ms) {
  const DirtierOptions options{.resident_bytes = resident_bytes, .dirty_bytes_per_second = kDirtyBytes};
  FirstSamples samples;
  for (unsigned i = 0; i < settings.runs; ++i) measure_first_once(settings, options, samples);
  report.add({.row = row,
              .what = fmt::format("gap in the program less that without, median; worst {:.2f}",
                                  largest(samples.pause_ms)),
              .measured = median(samples.pause_ms),
              .unit = "ms",
              .kind = Bound::kAtMost,
              .bound = bound_ms,
              .details = samples.stages.json()});
  report.add({.row = row,
              .what = fmt::format("frozen_time_us, median; worst {:.2f}", largest(samples.frozen_ms)),
              .measured = median(samples.frozen_ms),
              .unit = "ms",
              .kind = Bound::kAtMost,
              .bound = bound_ms});
  report.add({.row = row,
              .what = fmt::format("{:.2f} GB/s / {:.2f} GB/s written directly, median",
                                  median(samples.rates) / 1e9, median(samples.direct_rates) / 1e9),
              .measured = median(samples.rate_ratio),
              .unit = "",
              .kind = Bound::kAtLeast,
              .bound = 0.7,
              .details = {{"ratios", samples.rate_ratio}}});
}

}  // namespace ckpt::bench
