#include "engine/process/signals.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr int kLastSignal = 64;
constexpr std::uint64_t kSigsetBytes = 8;
constexpr int kAutoDisarm = static_cast<int>(1U << 31);  // SS_AUTODISARM, <linux/signal.h>

// si_sys_private, which the C library does not declare: ties a queued signal to the kernel's own timer, and
// would mean another one when queued again.
constexpr std::ptrdiff_t kTimerCookieOffset = 32;
constexpr std::size_t kTimerCookieBytes = 4;

constexpr std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }

// Queuing these again would end or stop the program while it is being built: they cannot be blocked.
bool cannot_wait(int signal) { return signal == SIGKILL || signal == SIGSTOP; }

void append_pending(const siginfo_t& info, std::vector<std::unique_ptr<image::PendingSignalT>>& pending) {
  if (cannot_wait(info.si_signo)) return;
  auto saved = std::make_unique<image::PendingSignalT>();
  saved->info.resize(sizeof(info));
  std::memcpy(saved->info.data(), &info, sizeof(info));
  if (info.si_code == SI_TIMER)
    std::fill_n(saved->info.begin() + kTimerCookieOffset, kTimerCookieBytes, std::uint8_t{0});
  pending.push_back(std::move(saved));
}

// `mask` is the pending set: a signal may be in it without a queue entry if the kernel had no room for one.
std::vector<std::unique_ptr<image::PendingSignalT>> peek_pending(pid_t tid, std::uint64_t mask,
                                                                 unsigned flags) {
  std::vector<std::unique_ptr<image::PendingSignalT>> pending;
  if (mask == 0) return pending;
  std::vector<siginfo_t> batch(128);
  std::uint64_t queued = 0;
  for (std::uint64_t offset = 0;;) {
    __ptrace_peeksiginfo_args arguments{
        .off = offset, .flags = flags, .nr = static_cast<std::int32_t>(batch.size())};
    long got = ::ptrace(PTRACE_PEEKSIGINFO, tid, &arguments, batch.data());
    if (got < 0) throw_errno(fmt::format("read pending signals of thread {}", tid));
    if (got == 0) break;
    for (const siginfo_t& info : std::span(batch).first(static_cast<std::size_t>(got))) {
      queued |= bit(info.si_signo);
      append_pending(info, pending);
    }
    offset += static_cast<std::uint64_t>(got);
  }
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if ((mask & ~queued & bit(signal)) == 0) continue;
    siginfo_t info{};
    info.si_signo = signal;
    append_pending(info, pending);
  }
  return pending;
}

bool is_default(const KernelSigaction& action) {
  return action.handler == 0 && action.flags == 0 && action.mask == 0;
}

void append_action(int signal, const KernelSigaction& action, image::ProcessT& process) {
  if (is_default(action)) return;
  auto saved = std::make_unique<image::SignalActionT>();
  saved->signal = signal;
  saved->handler = action.handler;
  saved->flags = action.flags;
  saved->restorer = action.restorer;
  saved->mask = action.mask;
  process.signal_actions.push_back(std::move(saved));
}

std::unique_ptr<image::AltStackT> to_image(const stack_t& stack) {
  if ((stack.ss_flags & SS_DISABLE) != 0) return nullptr;
  auto saved = std::make_unique<image::AltStackT>();
  saved->sp = reinterpret_cast<std::uint64_t>(stack.ss_sp);
  saved->size = stack.ss_size;
  // SS_ONSTACK is a statement about the stack pointer, not a setting.
  saved->flags = stack.ss_flags & kAutoDisarm;
  return saved;
}

bool names_sender(const siginfo_t& info) {
  constexpr std::array kSent{SI_USER, SI_QUEUE, SI_TKILL, SI_MESGQ};
  return std::ranges::count(kSent, info.si_code) != 0 || (info.si_signo == SIGCHLD && info.si_code > 0);
}

RemoteAddr info_data(const image::PendingSignalT& pending, const IdMap& ids, PlanBuilder& plan) {
  siginfo_t info{};
  if (pending.info.size() != sizeof info) throw Error("a pending signal in the checkpoint is malformed");
  std::memcpy(&info, pending.info.data(), sizeof info);
  if (names_sender(info)) info.si_pid = current_id(ids, info.si_pid);
  return plan.data_of(info);
}

int signal_number(const image::PendingSignalT& pending) {
  siginfo_t info{};
  std::memcpy(&info, pending.info.data(), std::min(sizeof(info), pending.info.size()));
  return info.si_signo;
}

}  // namespace

KernelSigaction kernel_sigaction(const image::SignalActionT& action) {
  return {.handler = action.handler, .flags = action.flags, .restorer = action.restorer, .mask = action.mask};
}

void save_signal_actions(const ProcStatus& status, RemoteQueries& queries, image::ProcessT& process) {
  // SIGCHLD may be default and still carry SA_NOCLDWAIT or SA_NOCLDSTOP, which no mask shows.
  std::uint64_t wanted = status.number("SigCgt", 16) | status.number("SigIgn", 16) | bit(SIGCHLD);
  wanted &= ~(bit(SIGKILL) | bit(SIGSTOP));
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if ((wanted & bit(signal)) == 0) continue;
    queries.fetch<KernelSigaction>(
        "read a signal handler", SYS_rt_sigaction,
        {static_cast<std::uint64_t>(signal), 0, kAnswer, kSigsetBytes},
        [&process, signal](const KernelSigaction& action) { append_action(signal, action, process); });
  }
}

void save_process_pending(pid_t pid, const ProcStatus& status, image::ProcessT& process) {
  process.pending = peek_pending(pid, status.number("ShdPnd", 16), PTRACE_PEEKSIGINFO_SHARED);
}

void save_thread_pending(const ProcStatus& status, pid_t tid, image::ThreadT& state) {
  state.pending = peek_pending(tid, status.number("SigPnd", 16), 0);
}

void save_alt_stack(RemoteQueries& queries, image::ThreadT& state) {
  queries.fetch<stack_t>("read the alternate signal stack", SYS_sigaltstack, {0, kAnswer},
                         [&state](const stack_t& stack) { state.alt_stack = to_image(stack); });
}

void reset_ignored_signals() {
  KernelSigaction action{};
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (cannot_wait(signal)) continue;
    // Raw: the C library hides the signals that it keeps for itself.
    if (::syscall(SYS_rt_sigaction, signal, &action, nullptr, kSigsetBytes) != 0) {
      throw_errno(fmt::format("reset signal {}", signal));
    }
  }
}

void plan_signal_actions(const image::ProcessT& process, PlanBuilder& plan) {
  for (const auto& action : process.signal_actions) {
    if (action->signal == SIGTRAP) continue;
    RemoteAddr data = plan.data_of(kernel_sigaction(*action));
    plan.expect(fmt::format("handler of signal {}", action->signal), SYS_rt_sigaction,
                {static_cast<std::uint64_t>(action->signal), data.value, 0, kSigsetBytes}, 0);
  }
}

void plan_process_pending(const image::ProcessT& process, const IdMap& ids, PlanBuilder& plan) {
  auto pid = static_cast<std::uint64_t>(current_id(ids, process.pid));
  for (const auto& pending : process.pending) {
    int signal = signal_number(*pending);
    plan.expect(fmt::format("queue pending signal {} for the process", signal), SYS_rt_sigqueueinfo,
                {pid, static_cast<std::uint64_t>(signal), info_data(*pending, ids, plan).value}, 0);
  }
}

void plan_thread_pending(const image::ThreadT& thread, std::int32_t pid, std::int32_t tid, const IdMap& ids,
                         PlanBuilder& plan) {
  for (const auto& pending : thread.pending) {
    int signal = signal_number(*pending);
    plan.expect(fmt::format("queue pending signal {} for thread {}", signal, tid), SYS_rt_tgsigqueueinfo,
                {static_cast<std::uint64_t>(pid), static_cast<std::uint64_t>(tid),
                 static_cast<std::uint64_t>(signal), info_data(*pending, ids, plan).value},
                0);
  }
}

void plan_alt_stack(const image::ThreadT& thread, PlanBuilder& plan) {
  if (!thread.alt_stack) return;
  stack_t stack{};
  stack.ss_sp = reinterpret_cast<void*>(thread.alt_stack->sp);
  stack.ss_size = thread.alt_stack->size;
  stack.ss_flags = thread.alt_stack->flags;
  plan.expect(fmt::format("alternate signal stack {:#x} of thread {}", thread.alt_stack->sp, thread.tid),
              SYS_sigaltstack, {plan.data_of(stack).value, 0}, 0);
}

}  // namespace ckpt::engine
