#include <fmt/format.h>

#include <array>
#include <map>
#include <string>

#include "child_run.h"
#include "rows.h"
#include "statistics.h"

namespace ckpt::bench {
namespace {

constexpr std::array<const char*, 3> kCalls{"open_close", "mmap_munmap", "syscall"};

using Times = std::map<std::string, std::vector<double>>;

void add_times(const Settings& settings, const std::vector<std::string>& options, Times& times) {
  std::vector<std::string> command{settings.binaries + "/ckptrun", "--store", store_of(settings)};
  command.insert(command.end(), options.begin(), options.end());
  command.insert(command.end(), {"--name", "calls", "--", settings.programs + "/times_calls"});
  ChildRun run(command, settings.directory + "/calls.err");
  for (const char* call : kCalls) {
    std::string line = run.wait_for_line(call).text;
    times[call].push_back(std::stod(line.substr(line.rfind(' '))));
  }
  run.wait();
}

}  // namespace

void measure_agent_calls(const Settings& settings, Report& report, const char* row) {
  Times with;
  Times without;
  for (unsigned i = 0; i < settings.runs; ++i) {
    add_times(settings, {}, with);
    add_times(settings, {"--no-agent"}, without);
  }
  store::Store::open(store_of(settings), false).remove_application("calls");
  for (const char* call : kCalls) {
    report.add({.row = row,
                .what = fmt::format("{}: {:.0f} ns with libckpt, {:.0f} ns without, medians", call,
                                    median(with[call]), median(without[call])),
                .measured = median(with[call]) - median(without[call]),
                .unit = "ns",
                .kind = Bound::kAtMost,
                .bound = 500,
                .details = {{"with_ns", with[call]}, {"without_ns", without[call]}}});
  }
}

}  // namespace ckpt::bench
