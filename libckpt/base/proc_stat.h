// /proc/PID/stat, and /proc/PID/comm, for what /proc/PID/status does not tell (proc_pid_stat(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ckpt {

inline constexpr std::uint64_t kFlagExiting = 0x4;  // PF_EXITING, include/linux/sched.h

class ProcStat {
 public:
  // Throws Error if there is no such process (ENOENT, ESRCH).
  explicit ProcStat(pid_t pid);
  // What the file said; none if that is nonsense.
  static std::optional<ProcStat> parse(std::string_view text);

  char state() const { return state_; }
  std::int64_t parent() const { return field(4); }
  std::int64_t controlling_terminal() const { return field(7); }  // as the kernel encodes a device; 0: none
  std::int64_t foreground_group() const { return field(8); }      // of that terminal
  std::uint64_t flags() const { return static_cast<std::uint64_t>(field(9)); }  // PF_*
  std::int64_t thread_count() const { return field(20); }
  std::int64_t start_time() const { return field(22); }  // in clock ticks since boot
  std::int64_t exit_signal() const { return field(38); }
  std::int64_t exit_status() const { return field(52); }  // as wait(2) gives it; of a process that has ended
  // Any other number: counted from 1, as the manual page does; from 4 on. Throws Error if it is not there.
  std::int64_t field(std::size_t number) const;

 private:
  ProcStat() = default;

  char state_ = '?';
  std::vector<std::int64_t> fields_;
};

// What it calls itself (PR_SET_NAME; of another process /proc/PID/comm). Throws Error if there is no such
// process.
std::string name_of_process(pid_t pid);

}  // namespace ckpt
