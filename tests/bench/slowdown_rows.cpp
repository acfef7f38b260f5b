#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "child_run.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr unsigned kResidentMib = 1024;
constexpr unsigned kDirtyMibPerSecond = kResidentMib / 100;

class Workload {
 public:
  Workload(const Settings& settings, const std::string& language, bool periodic)
      : settings_(settings), language_(language), periodic_(periodic), go_file_(settings.directory + "/go") {}

  // So many units that they take about as long as wanted.
  void calibrate() {
    units_ = 20;
    while (true) {
      const double taken = work_plain();
      if (taken >= settings_.work_seconds / 8) {
        units_ = static_cast<unsigned>(std::ceil(units_ * settings_.work_seconds / taken));
        return;
      }
      units_ *= 4;
    }
  }

  double work_plain() {
    std::filesystem::remove(go_file_);
    ChildRun run(command(), settings_.directory + "/plain.err");
    run.wait_for_line("ready");
    return work(run);
  }

  // Where checkpoints are taken, the first one is complete before the work begins: it comes once, the others
  // for ever.
  double work_supervised() {
    std::filesystem::remove(go_file_);
    std::vector<std::string> options;
    if (periodic_) options = {"--every", "1s"};
    SupervisedRun run(settings_, "work", options, command());
    run.child().wait_for_line("ready");
    while (periodic_ && !run.has_version()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const double taken = work(run.child());
    if (periodic_) versions_ += run.newest_version().description.version;
    store::Store::open(store_of(settings_), false).remove_application("work");
    return taken;
  }

  unsigned long versions() const { return versions_; }

 private:
  std::vector<std::string> command() const {
    std::vector<std::string> words{"/usr/bin/python3", CKPT_BENCH_SCRIPTS "/works_in_python.py"};
    if (language_ == "Java")
      words = {"/usr/bin/java", "-Xms3g", "-Xmx3g", "-cp", CKPT_BENCH_CLASSES, "WorksInJava"};
    words.insert(words.end(), {std::to_string(units_), std::to_string(periodic_ ? kResidentMib : 0),
                               std::to_string(kDirtyMibPerSecond), go_file_});
    return words;
  }

  double work(ChildRun& run) const {
    std::ofstream(go_file_).put('\n');
    const std::string line = run.wait_for_line("worked ").text;
    if (int status = run.wait(); status != 0) throw Error(fmt::format("{} ended with {}", language_, status));
    return std::stod(line.substr(7));
  }

  const Settings& settings_;
  std::string language_;
  bool periodic_;
  std::string go_file_;
  unsigned units_ = 0;
  unsigned long versions_ = 0;
};

}  // namespace

void measure_slowdown(const Settings& settings, Report& report, const char* row, const char* language,
                      bool periodic, double bound_percent) {
  Workload workload(settings, language, periodic);
  workload.calibrate();
  std::vector<double> ratios;  // logarithms: a pair in which either half was disturbed counts alike
  for (unsigned pair = 0; pair < settings.pairs; ++pair) {
    const bool plain_first = pair % 2 == 0;
    const double first = plain_first ? workload.work_plain() : workload.work_supervised();
    const double second = plain_first ? workload.work_supervised() : workload.work_plain();
    ratios.push_back(std::log(plain_first ? second / first : first / second));
  }
  const Interval interval = mean_with_confidence(ratios);
  auto percent = [](double logarithm) { return (std::exp(logarithm) - 1) * 100; };
  report.add({.row = row,
              .what = fmt::format("slower, {} pairs, 95 % sure between {:.2f} and {:.2f}", settings.pairs,
                                  percent(interval.low), percent(interval.high)),
              .measured = percent(interval.middle),
              .unit = "%",
              .kind = Bound::kAtMost,
              .bound = bound_percent,
              .details = {{"log_ratios", ratios}, {"checkpoints", workload.versions()}}});
}

}  // namespace ckpt::bench
