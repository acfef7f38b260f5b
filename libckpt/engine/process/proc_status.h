// /proc/PID/status of a process or thread, read once, fields parsed when asked for.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_list.h"

namespace ckpt::engine {

class ProcStatus {
 public:
  explicit ProcStatus(std::string text) : text_(std::move(text)) {}
  static ProcStatus of_process(pid_t pid);
  static ProcStatus of_thread(pid_t pid, pid_t tid);
  static ProcStatus of_thread(const ThreadList& process, pid_t tid);
  static ProcStatus of_self();

  std::string_view text(std::string_view key) const;  // empty if absent
  // The lines of `first` to `last` and all between them, unparsed; empty if either is absent.
  std::string_view lines(std::string_view first, std::string_view last) const;
  std::uint64_t number(std::string_view key, int base) const;  // throws Error if absent or not a number
  std::vector<std::uint32_t> numbers(std::string_view key) const;
  std::int32_t innermost(std::string_view key) const;  // NSpid and friends: as the process itself sees it
  std::string name() const;                            // the kernel's escapes undone

 private:
  std::string text_;
};

}  // namespace ckpt::engine
