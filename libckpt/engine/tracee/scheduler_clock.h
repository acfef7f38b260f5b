// When a sleeping thread last ran, on CLOCK_MONOTONIC.
//
// The kernel tells it (se.exec_start in /proc/PID/task/TID/sched) on the clock of the processor that the
// thread ran on. That clock leaves out time stolen by the hypervisor or spent in interrupts, so every
// processor has its own lag, tens of milliseconds apart, and growing. Hard rule: results may be late but
// never early, because a timeout is reckoned from them. Hence the lag is measured on that very processor, and
// after the thread's time was read.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

namespace ckpt::engine {

// A thread's line of life as the scheduler keeps it.
struct RunRecord {
  std::chrono::nanoseconds last_ran{};   // on its processor's clock
  std::uint64_t voluntary_switches = 0;  // how often it went to sleep, in a ptrace stop too
};

// From the text of a `sched` file; none where the kernel does not tell.
std::optional<RunRecord> parse_run_record(std::string_view sched);

// Measures processors' clocks from the calling thread, which visits them; its affinity is put back at the
// end.
class ProcessorClocks {
 public:
  ProcessorClocks();
  ~ProcessorClocks();
  ProcessorClocks(const ProcessorClocks&) = delete;
  ProcessorClocks& operator=(const ProcessorClocks&) = delete;

  // `last_ran` on CLOCK_MONOTONIC, at most 0.1 % of its age late; none if that processor is closed to us. All
  // times that one object converts must have been read before the first conversion.
  std::optional<std::chrono::steady_clock::time_point> to_steady(int processor,
                                                                 std::chrono::nanoseconds last_ran);

 private:
  std::optional<std::chrono::nanoseconds> measure(int processor);

  cpu_set_t affinity_{};
  bool moved_ = false;
  std::map<int, std::optional<std::chrono::nanoseconds>> lags_;
};

}  // namespace ckpt::engine
