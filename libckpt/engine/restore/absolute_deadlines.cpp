#include "engine/restore/absolute_deadlines.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <span>

#include "base/error.h"
#include "engine/restore/call_ahead.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

// linux/futex.h and asm/unistd.h newer than the system's.
constexpr long kSysFutexWaitv = 449;
constexpr long kSysFutexWait = 455;
constexpr int kFutexLockPi2 = 13;

constexpr std::int64_t kSecond = 1'000'000'000;
// A deadline beyond this is for ever, and sums with it stay within 64 bits.
constexpr std::int64_t kForeverSeconds = 100LL * 365 * 24 * 3600;

using Arguments = std::array<std::uint64_t, 6>;
using Clock = std::optional<clockid_t>;  // none: not an absolute deadline

Clock clock_of_sleep(const Arguments& arguments) {
  if ((arguments[1] & TIMER_ABSTIME) == 0) return std::nullopt;
  return static_cast<clockid_t>(arguments[0]);
}

Clock clock_of_futex(const Arguments& arguments) {
  if ((arguments[1] & FUTEX_CLOCK_REALTIME) != 0) return std::nullopt;
  constexpr std::array kAbsolute{FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, kFutexLockPi2};
  auto command = static_cast<int>(arguments[1] & FUTEX_CMD_MASK);
  if (std::ranges::find(kAbsolute, command) == kAbsolute.end()) return std::nullopt;
  return CLOCK_MONOTONIC;
}

Clock clock_of_futex_waitv(const Arguments& arguments) { return static_cast<clockid_t>(arguments[4]); }
Clock clock_of_futex_wait(const Arguments& arguments) { return static_cast<clockid_t>(arguments[5]); }

struct AbsoluteCall {
  long number;
  std::uint8_t deadline;  // the argument that points to it
  Clock (*clock)(const Arguments&);
};

constexpr AbsoluteCall kAbsoluteCalls[] = {
    {SYS_clock_nanosleep, 2, clock_of_sleep},
    {SYS_futex, 3, clock_of_futex},
    {kSysFutexWaitv, 3, clock_of_futex_waitv},
    {kSysFutexWait, 4, clock_of_futex_wait},
};

std::int64_t jump_of(clockid_t clock, const ClockOffsets& jump) {
  if (clock == CLOCK_MONOTONIC) return jump.monotonic_ns;
  return clock == CLOCK_BOOTTIME ? jump.boottime_ns : 0;
}

timespec moved(const timespec& deadline, std::int64_t by_ns) {
  std::int64_t when = std::max<std::int64_t>(0, deadline.tv_sec * kSecond + deadline.tv_nsec + by_ns);
  return {.tv_sec = when / kSecond, .tv_nsec = when % kSecond};
}

// False if there is nothing to move: memory that cannot be read makes the call fail, as it would have.
bool move_deadline(pid_t pid, RemoteAddr at, std::int64_t by_ns) {
  timespec deadline{};
  try {
    read_remote(pid, at, std::as_writable_bytes(std::span(&deadline, 1)));
  } catch (const Error&) {
    return false;
  }
  if (deadline.tv_sec < 0 || deadline.tv_sec > kForeverSeconds) return false;
  deadline = moved(deadline, by_ns);
  write_remote(pid, at, std::as_bytes(std::span(&deadline, 1)));
  return true;
}

}  // namespace

std::size_t move_absolute_deadlines(pid_t pid, const image::ProcessT& process, const ClockOffsets& jump) {
  std::set<std::uint64_t> done;
  for (const auto& thread : process.threads) {
    std::optional<CallAhead> call = call_ahead(pid, *thread);
    if (!call) continue;
    const auto* kind = std::ranges::find(kAbsoluteCalls, call->number, &AbsoluteCall::number);
    if (kind == std::end(kAbsoluteCalls)) continue;
    std::uint64_t at = call->arguments[kind->deadline];
    Clock clock = kind->clock(call->arguments);
    if (at == 0 || !clock || done.contains(at)) continue;
    std::int64_t by_ns = jump_of(*clock, jump);
    if (by_ns != 0 && move_deadline(pid, RemoteAddr{at}, by_ns)) done.insert(at);
  }
  return done.size();
}

}  // namespace ckpt::engine
