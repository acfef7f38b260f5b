#include "engine/tracee/written_back_timeouts.h"

#include <sys/syscall.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/tracee/arch/x86_64/call_registers.h"

namespace ckpt::engine {
namespace {

// timeval and timespec, as the kernel stores them.
struct KernelTime {
  std::int64_t seconds = 0;
  std::int64_t fraction = 0;
};

struct WrittenBackTimeout {
  long number;
  std::size_t argument;  // that points to the time
  std::int64_t fractions_per_second;
};

constexpr std::array<WrittenBackTimeout, 3> kCalls{
    {{SYS_select, 4, 1'000'000}, {SYS_pselect6, 4, 1'000'000'000}, {SYS_ppoll, 2, 1'000'000'000}}};

KernelTime shortened(KernelTime time, std::chrono::nanoseconds pause, std::int64_t fractions_per_second) {
  std::int64_t passed = pause.count() / (1'000'000'000 / fractions_per_second);
  time.seconds -= passed / fractions_per_second;
  time.fraction -= passed % fractions_per_second;
  if (time.fraction < 0) {
    time.fraction += fractions_per_second;
    --time.seconds;
  }
  return time.seconds < 0 ? KernelTime{} : time;
}

}  // namespace

void subtract_pause_from_timeouts(Tracee& tracee, std::chrono::nanoseconds pause) {
  for (const StoppedThread& thread : tracee.threads()) {
    std::optional<arch::InterruptedCall> call = arch::interrupted_call(thread.registers);
    if (!call) continue;
    for (const WrittenBackTimeout& kind : kCalls) {
      if (kind.number != call->number || call->site.arguments[kind.argument] == 0) continue;
      RemoteAddr address{call->site.arguments[kind.argument]};
      KernelTime time;
      tracee.read(address, std::as_writable_bytes(std::span(&time, 1)));
      time = shortened(time, pause, kind.fractions_per_second);
      tracee.write(address, std::as_bytes(std::span(&time, 1)));
    }
  }
}

}  // namespace ckpt::engine
