#include "engine/process/timers.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/process/proc_status.h"

namespace ckpt::engine {
namespace {

// <linux/prctl.h> since Linux 6.16: timer_create takes the wanted id from *timerid.
constexpr int kPrTimerCreateRestoreIds = 77;
constexpr std::uint64_t kRestoreIdsOff = 0;
constexpr std::uint64_t kRestoreIdsOn = 1;
constexpr unsigned long kRestoreIdsGet = 2;

// Without that, ids can only be reached by counting up to them; a program with more has its reasons, but not
// here.
constexpr std::int32_t kMostCountedIds = 4096;

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr int kSigevSignal = 0, kSigevNone = 1, kSigevThreadId = 4;

// The kernel's struct sigevent, as far as timer_create reads it.
struct KernelSigevent {
  std::uint64_t value;
  std::int32_t signal;
  std::int32_t notify;
  std::int32_t tid;
  std::int32_t unused[11];
};
static_assert(sizeof(KernelSigevent) == 64);

// Layout of struct itimerspec and, with microseconds, of struct itimerval.
struct KernelTimerValue {
  std::int64_t interval_seconds, interval_fraction, value_seconds, value_fraction;
};
static_assert(sizeof(KernelTimerValue) == sizeof(itimerspec) &&
              sizeof(KernelTimerValue) == sizeof(itimerval));

std::int64_t to_ns(std::int64_t seconds, std::int64_t fraction, std::int64_t fraction_ns) {
  return seconds * kNanosecondsPerSecond + fraction * fraction_ns;
}

KernelTimerValue timer_value(std::int64_t interval_ns, std::int64_t value_ns, std::int64_t fraction_ns) {
  return {.interval_seconds = interval_ns / kNanosecondsPerSecond,
          .interval_fraction = interval_ns % kNanosecondsPerSecond / fraction_ns,
          .value_seconds = value_ns / kNanosecondsPerSecond,
          .value_fraction = value_ns % kNanosecondsPerSecond / fraction_ns};
}

bool kernel_restores_timer_ids() { return ::prctl(kPrTimerCreateRestoreIds, kRestoreIdsGet, 0, 0, 0) >= 0; }

std::vector<const image::PosixTimerT*> by_id(const image::ProcessT& process) {
  std::vector<const image::PosixTimerT*> timers;
  timers.reserve(process.posix_timers.size());
  for (const auto& timer : process.posix_timers) timers.push_back(timer.get());
  std::ranges::sort(timers, {}, [](const image::PosixTimerT* timer) { return timer->id; });
  return timers;
}

// CPU-time clocks of a process or thread carry its id: ~id in the bits above the third.
std::int32_t current_clock(std::int32_t clock, const IdMap& ids) {
  if (clock >= 0 || ~(clock >> 3) == 0) return clock;
  std::int32_t id = current_id(ids, ~(clock >> 3));
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(id) << 3U) | (clock & 7);
}

RemoteAddr sigevent_data(const image::PosixTimerT& timer, const IdMap& ids, PlanBuilder& plan) {
  KernelSigevent event{
      .value = timer.value, .signal = timer.signal, .notify = timer.notify, .tid = 0, .unused = {}};
  if ((timer.notify & kSigevThreadId) != 0) event.tid = current_id(ids, timer.notify_tid);
  return plan.data_of(event);
}

void plan_create(const image::PosixTimerT& timer, RemoteAddr id, const IdMap& ids, PlanBuilder& plan) {
  auto clock = static_cast<std::uint64_t>(static_cast<std::int64_t>(current_clock(timer.clock, ids)));
  plan.expect(fmt::format("create timer {}", timer.id), SYS_timer_create,
              {clock, sigevent_data(timer, ids, plan).value, id.value}, 0);
}

void plan_timers_by_id(const image::ProcessT& process, const IdMap& ids, PlanBuilder& plan) {
  plan.expect("choose timer ids", SYS_prctl, {kPrTimerCreateRestoreIds, kRestoreIdsOn, 0, 0, 0}, 0);
  for (const image::PosixTimerT* timer : by_id(process))
    plan_create(*timer, plan.data_of(timer->id), ids, plan);
  plan.expect("choose timer ids no longer", SYS_prctl, {kPrTimerCreateRestoreIds, kRestoreIdsOff, 0, 0, 0},
              0);
}

// Who a timer signals is shown as seen from our pid namespace; the image has ids as the program sees them.
void translate_notify_tid(const Tracee& tracee, image::PosixTimerT& timer) {
  if ((timer.notify & kSigevThreadId) == 0) {
    timer.notify_tid = 0;
    return;
  }
  auto found = std::ranges::find(tracee.threads(), timer.notify_tid, &StoppedThread::tid);
  if (found == tracee.threads().end()) {
    // The thread has ended: such a timer runs and signals nobody.
    timer.notify = kSigevNone;
    timer.notify_tid = 0;
    return;
  }
  timer.notify_tid = ProcStatus::of_thread(tracee.pid(), found->tid).innermost("NSpid");
}

void ask_for_remaining(RemoteQueries& queries, image::PosixTimerT& timer) {
  auto id = static_cast<std::uint64_t>(timer.id);
  queries.fetch<KernelTimerValue>(
      "read a timer", SYS_timer_gettime, {id, kAnswer}, [&timer](const KernelTimerValue& value) {
        timer.interval_ns = to_ns(value.interval_seconds, value.interval_fraction, 1);
        timer.value_ns = to_ns(value.value_seconds, value.value_fraction, 1);
      });
  queries.expect("read the overrun of a timer", SYS_timer_getoverrun, {id},
                 [&timer](std::int64_t count) { timer.overrun = static_cast<std::int32_t>(count); });
}

void append_interval_timer(std::int32_t which, const KernelTimerValue& value, image::ProcessT& process) {
  auto timer = std::make_unique<image::IntervalTimerT>();
  timer->which = which;
  timer->interval_ns = to_ns(value.interval_seconds, value.interval_fraction, 1000);
  timer->value_ns = to_ns(value.value_seconds, value.value_fraction, 1000);
  // Between expiry and delivery of its signal a periodic ITIMER_REAL has no time left; the delivery starts
  // it again.
  if (timer->value_ns == 0) timer->value_ns = timer->interval_ns;
  if (timer->value_ns != 0) process.interval_timers.push_back(std::move(timer));
}

}  // namespace

void save_interval_timers(RemoteQueries& queries, image::ProcessT& process) {
  for (std::int32_t which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) {
    queries.fetch<KernelTimerValue>(
        "read an interval timer", SYS_getitimer, {static_cast<std::uint64_t>(which), kAnswer},
        [&process, which](const KernelTimerValue& value) { append_interval_timer(which, value, process); });
  }
}

std::vector<image::PosixTimerT> parse_proc_timers(const std::string& text) {
  std::vector<image::PosixTimerT> timers;
  std::size_t position = 0;
  while (position < text.size()) {
    image::PosixTimerT timer;
    std::array<char, 16> how{}, whom{};
    unsigned long long value = 0;
    int used = 0;
    int fields = std::sscanf(
        text.c_str() + position, "ID: %d signal: %d/%llx notify: %15[^/]/%15[^.].%d ClockID: %d %n",
        &timer.id, &timer.signal, &value, how.data(), whom.data(), &timer.notify_tid, &timer.clock, &used);
    if (fields != 7 || used == 0)
      throw Error("/proc timers has an unknown format; is this kernel supported?");
    timer.value = value;
    std::string_view method = how.data();
    timer.notify = method == "none" ? kSigevNone : method == "thread" ? SIGEV_THREAD : kSigevSignal;
    if (std::string_view(whom.data()) == "tid") timer.notify |= kSigevThreadId;
    timers.push_back(timer);
    position += static_cast<std::size_t>(used);
    // Lines of newer kernels that add to an entry.
    while (position < text.size() && text.compare(position, 3, "ID:") != 0) {
      position = std::min(text.find('\n', position), text.size() - 1) + 1;
    }
  }
  return timers;
}

void save_posix_timers(const Tracee& tracee, RemoteQueries& queries, image::ProcessT& process) {
  for (const image::PosixTimerT& found :
       parse_proc_timers(read_file(fmt::format("/proc/{}/timers", tracee.pid())))) {
    auto timer = std::make_unique<image::PosixTimerT>(found);
    translate_notify_tid(tracee, *timer);
    ask_for_remaining(queries, *timer);
    process.posix_timers.push_back(std::move(timer));
  }
}

void check_posix_timers(const image::ProcessT& process) {
  if (kernel_restores_timer_ids()) return;
  for (const auto& timer : process.posix_timers) {
    if (timer->id < kMostCountedIds) continue;
    throw Error(
        fmt::format("timer id {} is too high for this kernel; recover on Linux 6.16 or newer", timer->id));
  }
}

void plan_timers_by_counting(const image::ProcessT& process, const IdMap& ids, PlanBuilder& plan) {
  RemoteAddr got = plan.data_of(std::int32_t{0});
  KernelSigevent none{.value = 0, .signal = 0, .notify = kSigevNone, .tid = 0, .unused = {}};
  RemoteAddr passing = plan.data_of(none);
  std::int32_t next = 0;
  for (const image::PosixTimerT* timer : by_id(process)) {
    for (; next < timer->id; ++next) {
      auto id = static_cast<std::uint64_t>(next);
      plan.expect(fmt::format("pass timer id {}", next), SYS_timer_create,
                  {CLOCK_MONOTONIC, passing.value, got.value}, 0);
      plan.expect(fmt::format("drop timer {}", next), SYS_timer_delete, {id}, 0);
    }
    plan_create(*timer, got, ids, plan);
    plan.expect_success(fmt::format("find timer {} under its id", timer->id), SYS_timer_getoverrun,
                        {static_cast<std::uint64_t>(timer->id)});
    ++next;
  }
}

void plan_create_timers(const image::ProcessT& process, const IdMap& ids, PlanBuilder& plan,
                        std::vector<std::string>& notes) {
  if (process.posix_timers.empty()) return;
  for (const auto& timer : process.posix_timers) {
    if (timer->overrun == 0) continue;
    notes.push_back(
        fmt::format("timer {} had an overrun count of {}, it starts again at 0", timer->id, timer->overrun));
  }
  if (kernel_restores_timer_ids()) {
    plan_timers_by_id(process, ids, plan);
  } else {
    plan_timers_by_counting(process, ids, plan);
  }
}

void plan_arm_timers(const image::ProcessT& process, PlanBuilder& plan) {
  for (const auto& timer : process.interval_timers) {
    RemoteAddr value = plan.data_of(timer_value(timer->interval_ns, timer->value_ns, 1000));
    plan.expect(fmt::format("arm interval timer {}", timer->which), SYS_setitimer,
                {static_cast<std::uint64_t>(timer->which), value.value, 0}, 0);
  }
  for (const auto& timer : process.posix_timers) {
    if (timer->value_ns == 0) continue;
    RemoteAddr value = plan.data_of(timer_value(timer->interval_ns, timer->value_ns, 1));
    plan.expect(fmt::format("arm timer {}", timer->id), SYS_timer_settime,
                {static_cast<std::uint64_t>(timer->id), 0, value.value, 0}, 0);
  }
}

}  // namespace ckpt::engine
