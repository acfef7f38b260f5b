#include "engine/tracee/interrupted_calls.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/tracee/arch/x86_64/code_segment.h"
#include "engine/tracee/call_table.h"
#include "engine/tracee/call_timeout.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

using arch::InterruptedCall;
using arch::Interruption;
using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTryAgainAfter{50};
constexpr std::chrono::milliseconds kResumesAtOnce{1};
constexpr std::chrono::milliseconds kResumesSlowly{250};
constexpr std::chrono::seconds kStopDeadline{60};

// What restart_syscall can stand for.
constexpr std::array<long, 4> kContinuedCalls{SYS_poll, SYS_nanosleep, SYS_futex, SYS_clock_nanosleep};

// The number behind restart_syscall of a call that someone else interrupted first; kRestartNumber if it
// cannot be told.
long number_of_continued_call(pid_t pid, const arch::CallSite& site) {
  std::optional<long> number = arch::number_loaded_before(pid, site);
  bool fits = number && std::ranges::find(kContinuedCalls, *number) != kContinuedCalls.end();
  return fits ? *number : arch::kRestartNumber;
}

bool may_need_history(const BlockedCall& call) {
  const CallKind* kind = find_call_kind(call.number);
  return kind != nullptr && may_time_out(*kind, call.site.arguments);
}

bool is_on_socket(const CallKind& kind) {
  return kind.place == TimeoutPlace::kSocketReceive || kind.place == TimeoutPlace::kSocketSend;
}

// One thread stopped by ptrace; lets it go, with the signal that the stop was to deliver, when done.
class StoppedAlone {
 public:
  // Not attached: the thread is gone, or someone else traces it.
  StoppedAlone(pid_t pid, pid_t tid) : tid_(tid) {
    if (::ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) {
      refused_ = errno == EPERM;
      return;
    }
    ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
    std::optional<Stop> stop = wait_for_stop(pid, tid, steady_clock::now() + kStopDeadline);
    attached_ = stop && !stop->ended;
    if (attached_ && !stop->is_event_stop()) signal_ = stop->signal;
  }
  ~StoppedAlone() {
    if (attached_) ::ptrace(PTRACE_DETACH, tid_, nullptr, signal_);
  }
  StoppedAlone(const StoppedAlone&) = delete;
  StoppedAlone& operator=(const StoppedAlone&) = delete;

  bool attached() const { return attached_; }
  bool refused() const { return refused_; }

 private:
  pid_t tid_;
  int signal_ = 0;
  bool attached_ = false;
  bool refused_ = false;
};

}  // namespace

std::uint32_t InterruptedCalls::new_mark() {
  constexpr std::uint32_t kMask = 0x7fffffff;  // orig_rax stays positive: "in a call"
  if (!arch::marks_are_ignored()) return 0;
  last_mark_ = (last_mark_ + 1) & kMask;
  if (last_mark_ == 0) last_mark_ = 1;
  return last_mark_;
}

void InterruptedCalls::observe(BlockedCalls& threads, const std::vector<pid_t>& tids) {
  std::vector<BlockedCall> calls;
  for (pid_t tid : tids) {
    if (auto known = known_.find(tid); known != known_.end()) known->second.observed.reset();
    BlockedCall call;
    if (threads.look_at(tid, call) == Whereabouts::kInCall && may_need_history(call)) calls.push_back(call);
  }
  threads.read_history(calls);
  for (BlockedCall& call : calls) known_[call.tid].observed = call;
}

void InterruptedCalls::observe_before_stop(pid_t pid) {
  BlockedCalls threads(pid);
  std::vector<pid_t> tids = threads.list_threads();
  std::ranges::sort(tids);
  std::erase_if(known_, [&](const auto& entry) { return !std::ranges::binary_search(tids, entry.first); });
  observe(threads, tids);
}

bool InterruptedCalls::is_same_call(const Call& known, const InterruptedCall& found) {
  if (known.site != found.site) return false;
  if (found.number == arch::kRestartNumber && found.how == Interruption::kRestartBlock) return true;
  return known.number == found.number && known.mark == found.mark &&
         (known.mark != 0 || !arch::marks_are_ignored());
}

std::optional<steady_clock::time_point> InterruptedCalls::deadline_of(
    BlockedCalls& threads, pid_t pid, pid_t tid, const CallKind& kind, const InterruptedCall& found,
    const std::optional<BlockedCall>& observed) {
  if (found.how == Interruption::kRepeats && is_on_socket(kind))
    return std::nullopt;  // repeated, so without a timeout
  if (found.how == Interruption::kRestartBlock) {
    if (auto left = remaining_of_call(pid, kind, found.site.arguments)) return steady_clock::now() + *left;
  }
  std::optional<std::chrono::nanoseconds> timeout = timeout_of_call(pid, kind, found.site.arguments);
  if (!timeout) return std::nullopt;
  TimePoint start = steady_clock::now();
  if (observed && observed->number == found.number && observed->site == found.site &&
      observed->voluntary_switches) {
    // It is the call that was observed if only the ptrace stop has put the thread to sleep since then.
    std::optional<RunRecord> now = threads.run_record(tid);
    if (now && now->voluntary_switches == *observed->voluntary_switches + 1) start = observed->since;
  }
  return start + *timeout;
}

InterruptedCalls::Call InterruptedCalls::describe(BlockedCalls& threads, pid_t pid, pid_t tid,
                                                  const InterruptedCall& found,
                                                  const std::optional<BlockedCall>& observed) {
  Call call{.number = found.number, .site = found.site};
  if (call.number == arch::kRestartNumber) call.number = number_of_continued_call(pid, found.site);
  const CallKind* kind = find_call_kind(call.number);
  if (kind == nullptr) return call;
  if (std::optional<TimePoint> deadline = deadline_of(threads, pid, tid, *kind, found, observed)) {
    call.deadline = deadline;
    call.timed_out = kind->timed_out;
    call.finish = found.how != Interruption::kRestartBlock;
  }
  if (found.how == Interruption::kError || call.finish) call.mark = new_mark();
  return call;
}

// What the kernel repeats by itself only lacks the mark.
bool InterruptedCalls::needs_repeating(const InterruptedCall& found, const Call& call) {
  if (found.how == Interruption::kError) return find_call_kind(call.number) != nullptr;
  return found.how == Interruption::kRepeats && call.finish && found.mark != call.mark;
}

// Brings what is known of a stopped thread up to date and undoes the stop in its registers. True if they
// changed.
bool InterruptedCalls::settle(BlockedCalls& threads, pid_t pid, pid_t tid, user_regs_struct& registers) {
  Thread& thread = known_[tid];
  std::optional<BlockedCall> observed = std::exchange(thread.observed, std::nullopt);
  bool was_continued = arch::interrupt_continued_call(pid, registers);
  std::optional<InterruptedCall> ahead = arch::marked_call_ahead(registers);
  std::optional<InterruptedCall> found = ahead ? ahead : arch::interrupted_call(registers);
  if (!found) {
    thread.call.reset();
    return false;
  }
  if (!thread.call || !is_same_call(*thread.call, *found)) {
    if (ahead) {
      thread.call.reset();
      return false;
    }
    thread.call = describe(threads, pid, tid, *found, observed);
  }
  thread.call->look_at = thread.call->finish ? thread.call->deadline : std::nullopt;
  thread.call->released_at.reset();
  thread.call->met_by_look = false;
  if (thread.call->finish && thread.call->deadline <= steady_clock::now()) {
    arch::complete_call(registers, thread.call->timed_out);
    thread.call.reset();
    return true;
  }
  if (!ahead && !needs_repeating(*found, *thread.call)) return was_continued;
  arch::repeat_call(registers, thread.call->mark);
  return true;
}

void InterruptedCalls::fix_up(Tracee& tracee) {
  stopped_at_ = steady_clock::now();
  BlockedCalls threads(tracee.pid());
  for (StoppedThread& thread : tracee.threads()) {
    if (!thread.stopped || arch::is_in_32_bit_code(thread.registers)) continue;
    if (settle(threads, tracee.pid(), thread.tid, thread.registers)) thread.registers_changed = true;
  }
}

const InterruptedCalls::Call* InterruptedCalls::known_call(pid_t tid) const {
  auto known = known_.find(tid);
  return known == known_.end() || !known->second.call ? nullptr : &*known->second.call;
}

user_regs_struct InterruptedCalls::image_registers(Tracee& tracee, const StoppedThread& thread) const {
  user_regs_struct registers = thread.registers;
  const Call* known = known_call(thread.tid);
  std::optional<InterruptedCall> ahead = arch::marked_call_ahead(registers);
  if (ahead && known != nullptr && is_same_call(*known, *ahead)) arch::mark_call_ahead(registers, 0);
  std::optional<InterruptedCall> found = arch::interrupted_call(registers);
  if (!found || found->how == Interruption::kError) {
    registers.orig_rax = ~0ULL;
    return registers;
  }
  long number = found->number;
  if (number == arch::kRestartNumber) {
    bool is_known = known != nullptr && is_same_call(*known, *found);
    number = is_known ? known->number : number_of_continued_call(tracee.pid(), found->site);
  }
  if (number == arch::kRestartNumber) {
    // Not to be started again without its number: the restored program sees the interruption.
    arch::complete_call(registers, -EINTR);
  } else {
    arch::stand_before_call(registers, number);
  }
  return registers;
}

std::unique_ptr<image::TimedCallT> InterruptedCalls::timed_call(const StoppedThread& thread) const {
  const Call* call = known_call(thread.tid);
  if (call == nullptr || !call->deadline) return nullptr;
  auto timed = std::make_unique<image::TimedCallT>();
  timed->number = static_cast<std::int32_t>(call->number);
  timed->remaining_ns =
      std::max<std::int64_t>(0, std::chrono::nanoseconds(*call->deadline - stopped_at_).count());
  timed->result = call->timed_out;
  return timed;
}

void InterruptedCalls::adopt(pid_t tid, const image::TimedCallT& call, user_regs_struct& registers) {
  std::uint32_t mark = new_mark();
  TimePoint deadline = steady_clock::now() + std::chrono::nanoseconds(call.remaining_ns);
  known_[tid].call = Call{.number = call.number,
                          .mark = mark,
                          .site = arch::site_of_call_ahead(registers),
                          .deadline = deadline,
                          .timed_out = call.result,
                          .finish = true,
                          .look_at = deadline};
  arch::mark_call_ahead(registers, mark);
}

void InterruptedCalls::released() {
  TimePoint now = steady_clock::now();
  for (auto& [tid, thread] : known_) {
    if (thread.call && !thread.call->released_at) thread.call->released_at = now;
  }
}

std::optional<steady_clock::time_point> InterruptedCalls::next_deadline() const {
  std::optional<TimePoint> next;
  for (const auto& [tid, thread] : known_) {
    if (!thread.call || !thread.call->look_at) continue;
    if (!next || *thread.call->look_at < *next) next = thread.call->look_at;
  }
  return next;
}

// Looks before stopping: most threads that a deadline was kept for have long left their call. A thread that
// seems to be in it is stopped, and its mark tells. A call that was only met by such a look is not stopped
// unless the thread resumed it soon: otherwise it is in another one, or was woken in vain; either way the
// kernel's timer ends that sleep. Without this a loop of short waits, once stopped, would be stopped again at
// each timeout for ever.
bool InterruptedCalls::may_be_in_call(BlockedCalls& threads, pid_t tid, const Call& call) {
  BlockedCall current;
  switch (threads.look_at(tid, current)) {
    case Whereabouts::kGone:
      return false;
    case Whereabouts::kRunning:
      return true;  // perhaps on its way into the call
    case Whereabouts::kElsewhere:
      return !call.met_by_look;  // perhaps it waits for a page on its way
    case Whereabouts::kInCall:
      break;
  }
  bool is_number = current.number == call.number || current.number == arch::kRestartNumber;
  if (!is_number || current.site != call.site) return false;
  observe(threads, {tid});
  const std::optional<BlockedCall>& observed = known_[tid].observed;
  if (!call.met_by_look || !observed || !call.released_at) return true;
  // A share of the time it had left: more patience on long waits, and loops of short ones still get away.
  std::chrono::nanoseconds to_resume = (*call.deadline - *call.released_at) / 8;
  return observed->since <=
         *call.released_at + std::clamp<std::chrono::nanoseconds>(to_resume, kResumesAtOnce, kResumesSlowly);
}

void InterruptedCalls::finish(BlockedCalls& threads, pid_t pid, pid_t tid) {
  Call& call = *known_[tid].call;
  if (!may_be_in_call(threads, tid, call)) {
    call.look_at.reset();
    return;
  }
  StoppedAlone stopped(pid, tid);
  if (stopped.refused()) {
    call.look_at = steady_clock::now() + kTryAgainAfter;
    return;
  }
  if (!stopped.attached()) {
    known_.erase(tid);
    return;
  }
  user_regs_struct registers{};
  get_registers(tid, registers);
  if (settle(threads, pid, tid, registers)) set_registers(tid, registers);
  if (std::optional<Call>& left = known_[tid].call) left->met_by_look = true;
}

void InterruptedCalls::finish_due(pid_t pid) {
  TimePoint now = steady_clock::now();
  std::vector<pid_t> due;
  for (const auto& [tid, thread] : known_) {
    if (thread.call && thread.call->look_at && *thread.call->look_at <= now) due.push_back(tid);
  }
  if (due.empty()) return;
  BlockedCalls threads(pid);
  for (pid_t tid : due) finish(threads, pid, tid);
  released();
}

}  // namespace ckpt::engine
