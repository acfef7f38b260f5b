#include "launcher/process_identity.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/pidfd.h"
#include "base/proc_stat.h"
#include "base/thread_list.h"
#include "base/unique_fd.h"
#include "engine/capture/clock_offsets.h"
#include "engine/capture/host.h"

namespace ckpt::launcher {
namespace {

constexpr std::chrono::seconds kLongestEnding{30};

std::optional<std::string> read_proc(pid_t pid, const char* file) {
  try {
    return read_file(fmt::format("/proc/{}/{}", pid, file));
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<ProcStat> stat_of(pid_t pid) {
  std::optional<std::string> text = read_proc(pid, "stat");
  return text ? ProcStat::parse(*text) : std::nullopt;
}

// A time namespace shifts what its processes read; a record is for readers in any.
std::uint64_t start_on_machine(const ProcStat& stat) {
  static const std::int64_t offset_ticks =
      engine::clock_offsets_of("self").boottime_ns / (1'000'000'000 / ::sysconf(_SC_CLK_TCK));
  return static_cast<std::uint64_t>(stat.start_time() - offset_ticks);
}

bool kill_pending(pid_t pid) {
  std::optional<std::string> status = read_proc(pid, "status");
  if (!status) return true;
  for (const char* key : {"SigPnd", "ShdPnd"}) {
    std::uint64_t set = parse_unsigned(status_field(*status, key), 16).value_or(0);
    if ((set & (1ULL << (SIGKILL - 1))) != 0) return true;
  }
  return false;
}

bool is_ended(const ProcStat& stat) { return stat.state() == 'Z' || stat.state() == 'X'; }

// After the main thread: a killed process ends thread by thread, and one whose main thread left lives on.
bool remaining_threads_are_ending(pid_t pid) {
  for (pid_t tid : list_threads(pid)) {
    std::optional<ProcStat> stat = stat_of(tid);
    if (!stat || is_ended(*stat) || (stat->flags() & kFlagExiting) != 0 || kill_pending(tid)) continue;
    return false;
  }
  return true;
}

}  // namespace

std::optional<ProcessIdentity> identify_process(pid_t pid) {
  std::optional<ProcStat> stat = stat_of(pid);
  if (!stat) return std::nullopt;
  return ProcessIdentity{.pid = pid, .start_time = start_on_machine(*stat), .boot_id = engine::boot_id()};
}

Liveness liveness(const ProcessIdentity& identity) {
  if (identity.pid <= 0 || identity.boot_id != engine::boot_id()) return Liveness::kGone;
  std::optional<ProcStat> stat = stat_of(identity.pid);
  if (!stat || start_on_machine(*stat) != identity.start_time) return Liveness::kGone;
  if (is_ended(*stat)) {
    if (stat->thread_count() <= 1) return Liveness::kGone;
    return remaining_threads_are_ending(identity.pid) ? Liveness::kEnding : Liveness::kRunning;
  }
  if ((stat->flags() & kFlagExiting) != 0 || kill_pending(identity.pid)) return Liveness::kEnding;
  return stat->state() == 'T' ? Liveness::kStopped : Liveness::kRunning;
}

bool wait_until_gone(const ProcessIdentity& identity, std::chrono::milliseconds grace) {
  UniqueFd pidfd = open_pidfd(identity.pid);
  auto begin = std::chrono::steady_clock::now();
  for (;;) {
    Liveness now = liveness(identity);
    if (now == Liveness::kGone || !pidfd) return now == Liveness::kGone;
    std::chrono::milliseconds limit = now == Liveness::kEnding ? kLongestEnding : grace;
    auto waited =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    if (waited >= limit) return false;
    pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
    // In steps of the grace: a process that began to end meanwhile gets the longer limit.
    std::chrono::milliseconds step = std::min(limit - waited, std::max(grace, std::chrono::milliseconds(1)));
    if (::poll(&ended, 1, static_cast<int>(step.count())) > 0) return true;
  }
}

}  // namespace ckpt::launcher
