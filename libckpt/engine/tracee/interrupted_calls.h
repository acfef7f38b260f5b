// What a stop does to blocking system calls, and how it is undone, so that neither the running program nor a restored
// one sees it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

class InterruptedCalls {
 public:
  // Before the stop: learns which threads sit in which timed call and since when (/proc/PID/task/TID/syscall, sched).
  void observe_before_stop(pid_t pid);

  // With all threads stopped: winds -EINTR calls back (registers in `tracee`), remembers their deadlines.
  void fix_up(Tracee& tracee);

  // For the image: registers of `thread` standing before the call it was in (or unchanged), and how the call has to be
  // finished if starting it again would wait too long. To be called after fix_up().
  user_regs_struct image_registers(Tracee& tracee, const StoppedThread& thread) const;
  std::unique_ptr<image::TimedCallT> timed_call(const StoppedThread& thread) const;

  // After a restore: calls that have to be finished; `tid` as the supervisor sees it. `registers` as restored.
  void adopt(pid_t tid, const image::TimedCallT& call, const user_regs_struct& registers);

  std::optional<std::chrono::steady_clock::time_point> next_deadline() const;
  // Stops each due thread; one that is still in its call gets the call's timed-out result. Never disturbs others.
  void finish_due(pid_t pid);

 private:
  struct Known;
  std::map<pid_t, Known> known_;
};

}  // namespace ckpt::engine
