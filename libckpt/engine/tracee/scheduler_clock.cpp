#include "engine/tracee/scheduler_clock.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"

namespace ckpt::engine {
namespace {

using std::chrono::nanoseconds;
using std::chrono::steady_clock;

// The two clocks run at slightly different rates (NTP slews one of them); as a share of the time passed.
constexpr int kRateTolerance = 1000;

// The rest of a line "key   :   value" of a `sched` file.
std::string_view value_of(std::string_view text, std::string_view key) {
  std::size_t line = text.find(key);
  if (line == std::string_view::npos) return {};
  text.remove_prefix(line + key.size());
  std::size_t begin = text.find_first_not_of(" :");
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin);
  return text.substr(0, text.find('\n'));
}

// "1675491.183812": milliseconds, always with six decimals.
std::optional<nanoseconds> parse_milliseconds(std::string_view text) {
  std::size_t point = text.find('.');
  if (point == std::string_view::npos) return std::nullopt;
  auto whole = parse_unsigned(text.substr(0, point));
  auto fraction = parse_unsigned(text.substr(point + 1));
  if (!whole || !fraction || text.size() - point != 7) return std::nullopt;
  return std::chrono::milliseconds(*whole) + nanoseconds(*fraction);
}

}  // namespace

std::optional<RunRecord> parse_run_record(std::string_view sched) {
  auto last_ran = parse_milliseconds(value_of(sched, "se.exec_start"));
  auto switches = parse_unsigned(value_of(sched, "nr_voluntary_switches"));
  // Zero: the thread moved to another processor and has not run there.
  if (!last_ran || !switches || last_ran->count() == 0) return std::nullopt;
  return RunRecord{.last_ran = *last_ran, .voluntary_switches = *switches};
}

ProcessorClocks::ProcessorClocks() { ::sched_getaffinity(0, sizeof(affinity_), &affinity_); }

ProcessorClocks::~ProcessorClocks() {
  if (moved_) ::sched_setaffinity(0, sizeof(affinity_), &affinity_);
}

// Our own last_ran, renewed by yielding and compared with the time right after: the lag comes out too large
// rather than too small.
std::optional<nanoseconds> ProcessorClocks::measure(int processor) {
  if (processor < 0 || processor >= CPU_SETSIZE) return std::nullopt;
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(static_cast<unsigned>(processor), &only);
  if (::sched_setaffinity(0, sizeof(only), &only) != 0) return std::nullopt;
  moved_ = true;
  ::sched_yield();
  std::optional<RunRecord> own;
  try {
    own = parse_run_record(read_file("/proc/thread-self/sched"));
  } catch (const Error&) {
    return std::nullopt;  // no procfs of this kind; the caller has another way
  }
  if (!own) return std::nullopt;
  return steady_clock::now().time_since_epoch() - own->last_ran;
}

std::optional<steady_clock::time_point> ProcessorClocks::to_steady(int processor, nanoseconds last_ran) {
  auto [entry, is_new] = lags_.try_emplace(processor);
  if (is_new) entry->second = measure(processor);
  if (!entry->second) return std::nullopt;
  steady_clock::time_point now = steady_clock::now();
  steady_clock::time_point exact(last_ran + *entry->second);
  return std::min(now, exact + (now - exact) / kRateTolerance);
}

}  // namespace ckpt::engine
