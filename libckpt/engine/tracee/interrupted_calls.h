// What a stop does to blocking system calls, and how it is undone, so that neither the running program nor a
// restored one sees it.
//
// Most interrupted calls are repeated or continued by the kernel. Those that would return EINTR are turned
// into repeated ones: the kernel still returns EINTR if a signal with a handler comes first. A repeated call
// starts its timeout anew, so its deadline is kept here and the call is finished from outside when it is due.
//
// Hard rules:
//  1. Never early: the start of a call is taken as the last moment at which it can have begun.
//  2. Never steal: only a call that has come to nothing is repeated or finished.
//  3. A deadline belongs to one call, not to equal arguments: a mark that travels with the call tells
//     (arch/x86_64/call_registers.h), or restart_syscall does, which the kernel only runs for a call that
//     went on.
//
// Left to do for a reader: between observe_before_stop() and the stop a thread may leave a call and be
// interrupted in an equal one before it sleeps in it; that new call then gets the deadline of the old one.
// A signal that comes in the instant between the kernel's decision to repeat a call and the call itself is
// handled before the call, as one that came just before the program made it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "engine/tracee/arch/x86_64/call_registers.h"
#include "engine/tracee/blocked_calls.h"
#include "engine/tracee/call_table.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

class InterruptedCalls {
 public:
  // Before the stop: learns which threads sit in which timed call and since when. Forgets threads that are
  // gone.
  void observe_before_stop(pid_t pid);

  // Of all threads that are stopped: has EINTR calls repeated (registers in `tracee`), remembers deadlines.
  void fix_up(Tracee& tracee);

  // Right after the threads were let go. Without it finish_due() stops threads in vain.
  void released();

  // For the image: registers of `thread` standing before the call it was in (or unchanged), and how the call
  // has to be finished if starting it again would wait too long. To be called after fix_up(), in the same
  // stop.
  user_regs_struct image_registers(Tracee& tracee, const StoppedThread& thread) const;
  std::unique_ptr<image::TimedCallT> timed_call(const StoppedThread& thread) const;

  // After a restore, BEFORE the thread gets its registers: takes over a call that has to be finished; `tid`
  // as the supervisor sees it. Puts the call's mark into `registers`, which must then be written to the
  // thread.
  void adopt(pid_t tid, const image::TimedCallT& call, user_regs_struct& registers);

  std::optional<std::chrono::steady_clock::time_point> next_deadline() const;
  // Stops each due thread; one that is still in its call gets the call's timed-out result. Never disturbs
  // others.
  void finish_due(pid_t pid);

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  // A call that a thread was interrupted in.
  struct Call {
    long number = 0;
    std::uint32_t mark = 0;
    arch::CallSite site;
    std::optional<TimePoint> deadline{};
    std::int64_t timed_out = 0;              // its result when due
    bool finish = false;                     // by us: the kernel's own timer began anew
    std::optional<TimePoint> look_at{};      // when finish_due() has to see to it
    std::optional<TimePoint> released_at{};  // after the last stop
    bool met_by_look = false;                // the last stop was one of finish_due()
  };
  struct Thread {
    std::optional<BlockedCall> observed;  // just before the current stop
    std::optional<Call> call;
  };

  static bool is_same_call(const Call& known, const arch::InterruptedCall& found);
  static bool needs_repeating(const arch::InterruptedCall& found, const Call& call);
  static std::optional<TimePoint> deadline_of(BlockedCalls& threads, pid_t pid, pid_t tid,
                                              const CallKind& kind, const arch::InterruptedCall& found,
                                              const std::optional<BlockedCall>& observed);
  Call describe(BlockedCalls& threads, pid_t pid, pid_t tid, const arch::InterruptedCall& found,
                const std::optional<BlockedCall>& observed);
  bool settle(BlockedCalls& threads, pid_t pid, pid_t tid, user_regs_struct& registers);
  void observe(BlockedCalls& threads, const std::vector<pid_t>& tids);
  const Call* known_call(pid_t tid) const;
  bool may_be_in_call(BlockedCalls& threads, pid_t tid, const Call& call);
  void finish(BlockedCalls& threads, pid_t pid, pid_t tid);
  std::uint32_t new_mark();

  std::map<pid_t, Thread> known_;
  TimePoint stopped_at_{};
  std::uint32_t last_mark_ = 0;
};

}  // namespace ckpt::engine
