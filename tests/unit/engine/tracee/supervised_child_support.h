// A child process in one blocking call, stopped again and again as a supervisor does.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>

#include "base/unique_fd.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {

struct Outcome {
  long result = 0;
  int error = 0;
  std::chrono::nanoseconds duration{};  // from before the call until after it, on the child's own clock
};

// Runs `prepare` (if any), then `call`, in a forked child that then waits to be killed. `call` returns like
// syscall(2).
class ChildInCall {
 public:
  using Function = std::function<long()>;

  explicit ChildInCall(const Function& call, const Function& prepare = {});
  ~ChildInCall();
  ChildInCall(const ChildInCall&) = delete;
  ChildInCall& operator=(const ChildInCall&) = delete;

  pid_t pid() const { return pid_; }
  // Until the child sleeps in a system call with this number.
  void wait_until_in_call(long number) const;
  // What the child reports, if it does before `until`.
  std::optional<Outcome> outcome(std::chrono::steady_clock::time_point until) const;

 private:
  pid_t pid_ = -1;
  UniqueFd report_;
};

// One stop and release with all that a checkpoint does around it, a remote call in the main thread included.
void stop_once(InterruptedCalls& calls, pid_t pid, const std::function<void(Tracee&)>& while_stopped = {});

// Stops the child every `period`, and finishes calls when due, until it reports or `limit` has passed.
std::optional<Outcome> supervise(InterruptedCalls& calls, const ChildInCall& child,
                                 std::chrono::milliseconds period, std::chrono::milliseconds limit);

}  // namespace ckpt::engine
