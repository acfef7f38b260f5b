// The part of Tracee that has stopped threads make system calls.
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/kernel_abi.h"
#include "engine/tracee/arch/x86_64/call_loop.h"
#include "engine/tracee/arch/x86_64/syscall_instruction.h"
#include "engine/tracee/call_area.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/rseq_section.h"
#include "engine/tracee/stops.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr std::chrono::seconds kLoopDeadline{30};
constexpr int kLooksBeforeSleeping = 200;
constexpr int kLoopProtection = PROT_READ | PROT_WRITE | PROT_EXEC;

// Our mapping: the call area, and from there on what scratch() hands out.
static_assert(Tracee::kMappingBytes == CallArea::kBytes + Tracee::kScratchBytes);

// It would be given a signal for every system call that we have it make.
void refuse_own_dispatch(pid_t pid, pid_t tid) {
  kernel::UserDispatch dispatch{};
  auto request = static_cast<__ptrace_request>(kernel::kGetUserDispatch);
  if (::ptrace(request, tid, sizeof dispatch, &dispatch) != 0 || dispatch.mode == 0) return;
  throw Error(fmt::format(
      "thread {} of process {} handles system calls itself (PR_SET_SYSCALL_USER_DISPATCH), so that "
      "no checkpoint can have it make any; have the program switch that off",
      tid, pid));
}

}  // namespace

// A thread inside a restartable sequence is first sent to its abort address, as the kernel would do for any
// other interruption: running a remote call there would make the kernel forget the abort.
void Tracee::leave_rseq_section(StoppedThread& thread) {
  std::optional<RseqSection> section = rseq_section_of(pid_, thread.tid, thread.registers.rip);
  if (!section) return;
  constexpr std::uint64_t kNone = 0;
  write(section->pointer, std::as_bytes(std::span(&kNone, 1)));
  thread.registers.rip = section->abort.value;
  thread.registers_changed = true;
}

void Tracee::borrow(StoppedThread& thread) {
  if (thread.borrowed) return;
  refuse_own_dispatch(pid_, thread.tid);
  leave_rseq_section(thread);
  if (::ptrace(PTRACE_SETOPTIONS, thread.tid, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0) {
    throw_errno(fmt::format("set trace options of thread {}", thread.tid));
  }
  set_signal_mask(thread.tid, kAllSignals);
  thread.borrowed = true;
}

RemoteAddr Tracee::syscall_instruction() {
  if (syscall_instruction_.value == 0) {
    std::optional<RemoteAddr> behind = arch::syscall_instruction_before(pid_, main_thread().registers);
    syscall_instruction_ = behind ? *behind : arch::find_syscall_instruction(pid_);
  }
  return syscall_instruction_;
}

std::vector<RemoteAddr> Tracee::pages_touched_by_calls() {
  std::vector<RemoteAddr> pages;
  auto add = [&pages](RemoteAddr start, std::uint64_t size_bytes) {
    std::uint64_t end = start.value + size_bytes;
    for (std::uint64_t at = page_floor(start.value); at < end; at += kPageSize) pages.push_back({at});
  };
  add(syscall_instruction(), arch::kSyscallInstructionBytes);
  if (std::optional<RseqArea> area = rseq_area_of(main_thread().tid)) add(area->start, area->size_bytes);
  return pages;
}

std::int64_t Tracee::remote_syscall(StoppedThread& thread, long number,
                                    std::initializer_list<std::uint64_t> arguments) {
  finish_what_has_begun();
  RemoteAddr instruction = syscall_instruction();
  borrow(thread);
  bool met_stop = false;
  std::int64_t result =
      run_syscall(pid_, thread.tid,
                  arch::registers_for_call(thread.registers, instruction, number, arguments), &met_stop);
  owes_stop_ |= met_stop;
  return result;
}

std::int64_t Tracee::remote_syscall(long number, std::initializer_list<std::uint64_t> arguments) {
  return remote_syscall(main_thread(), number, arguments);
}

void Tracee::begin_call(long number, std::initializer_list<std::uint64_t> arguments) {
  RemoteAddr instruction = syscall_instruction();
  StoppedThread& thread = main_thread();
  borrow(thread);
  call_.emplace(pid_, thread.tid, arch::registers_for_call(thread.registers, instruction, number, arguments));
}

std::int64_t Tracee::finish_call() {
  std::int64_t result = call_->finish();
  owes_stop_ |= call_->met_stop();
  call_.reset();
  return result;
}

void Tracee::finish_what_has_begun() {
  if (loop_) end_syscalls();
  if (call_ && scratch_.value == 0) scratch();
}

// Shared, so that it never merges with a neighbour of the program's.
void Tracee::begin_mapping(int protection) {
  begin_call(SYS_mmap, {0, Tracee::kMappingBytes, static_cast<std::uint64_t>(protection),
                        MAP_SHARED | MAP_ANONYMOUS, ~0ULL, 0});
}

void Tracee::begin_unmapping() { begin_call(SYS_munmap, {scratch_.value, Tracee::kMappingBytes}); }

bool Tracee::map_scratch(int protection) {
  if (!call_) begin_mapping(protection);
  std::int64_t address = finish_call();
  if (address < 0 && address > -4096) {
    errno = static_cast<int>(-address);
    return false;
  }
  scratch_ = RemoteAddr{static_cast<std::uint64_t>(address)};
  return true;
}

void Tracee::begin_scratch() {
  if (scratch_.value == 0 && !call_) begin_mapping(kLoopProtection);
}

RemoteAddr Tracee::scratch() {
  if (scratch_.value == 0) {
    // Policies that forbid memory to be written and executed leave us with single calls.
    has_call_loop_ = map_scratch(kLoopProtection);
    if (!has_call_loop_ && !map_scratch(PROT_READ | PROT_WRITE))
      throw_errno(fmt::format("map scratch memory in process {}", pid_));
  }
  return scratch_ + CallArea::kBytes;
}

void Tracee::unmap_scratch() {
  if (scratch_.value == 0) return;
  if (!call_) begin_unmapping();
  finish_call();
  scratch_ = {};
}

void Tracee::remote_syscalls(std::span<const ThreadCalls> batch) {
  scratch();
  std::vector<ThreadCalls> wave;
  std::size_t room = CallArea::kMostCalls;
  auto run_wave = [&] {
    run_in_loop(wave);
    wave.clear();
    room = CallArea::kMostCalls;
  };
  for (const ThreadCalls& thread : batch) {
    for (std::span<RemoteCall> rest = thread.calls; !rest.empty();) {
      std::span<RemoteCall> part = rest.first(std::min(rest.size(), room));
      wave.push_back({.thread = thread.thread, .calls = part});
      rest = rest.subspan(part.size());
      room -= part.size();
      if (room == 0) run_wave();
    }
  }
  if (!wave.empty()) run_wave();
}

void Tracee::run_in_loop(std::span<const ThreadCalls> batch) {
  if (begin_syscalls(batch)) {
    await_syscalls();
    end_syscalls();
  } else {
    run_one_by_one(batch);
  }
}

void Tracee::run_one_by_one(std::span<const ThreadCalls> batch) {
  for (const ThreadCalls& thread : batch) {
    for (RemoteCall& call : thread.calls) {
      const auto& a = call.arguments;
      call.result = remote_syscall(*thread.thread, call.number, {a[0], a[1], a[2], a[3], a[4], a[5]});
    }
  }
}

bool Tracee::begin_syscalls(std::span<const ThreadCalls> batch) {
  std::size_t count = 0;
  for (const ThreadCalls& thread : batch) count += thread.calls.size();
  finish_what_has_begun();
  scratch();
  if (!has_call_loop_ || count > CallArea::kMostCalls) return false;
  for (const ThreadCalls& thread : batch) borrow(*thread.thread);
  auto area = std::make_unique<CallArea>(batch);
  write(scratch_, area->bytes());
  loop_ = std::move(area);
  loop_interrupted_ = false;
  try {
    start_loops(batch);
  } catch (const Error&) {
    loop_.reset();  // it was killed
    throw;
  }
  return true;
}

void Tracee::await_syscalls() {
  if (!loop_ || std::exchange(loop_interrupted_, true)) return;
  await_calls(*loop_, loop_->batch());
  interrupt_loop(loop_->batch());
}

void Tracee::end_syscalls() {
  if (!loop_) return;
  await_syscalls();
  std::unique_ptr<CallArea> area = std::move(loop_);
  leave_loop(area->batch());
  // Again, now that nothing changes any more: what was read while the threads ran may be older in its first
  // calls than in its last.
  read(scratch_ + CallArea::kCallsOffset, area->calls());
  area->hand_out_results();
}

void Tracee::start_loops(std::span<const ThreadCalls> batch) {
  std::uint64_t offset = CallArea::kCallsOffset;
  for (const ThreadCalls& thread : batch) {
    start_loop(*thread.thread, scratch_ + offset, thread.calls.size());
    offset += thread.calls.size_bytes();
  }
}

void Tracee::start_loop(StoppedThread& thread, RemoteAddr calls, std::size_t count) {
  set_registers(thread.tid, arch::registers_for_loop(thread.registers, scratch_, calls, count));
  if (::ptrace(PTRACE_CONT, thread.tid, nullptr, 0) != 0) {
    throw_errno(fmt::format("run system calls in thread {}", thread.tid));
  }
}

// Looks at the results: a thread that were interrupted any sooner might be stopped before its first
// instruction, every time.
void Tracee::await_calls(CallArea& area, std::span<const ThreadCalls> batch) {
  auto deadline = Clock::now() + kLoopDeadline;
  for (int looks = 0;; ++looks) {
    read(scratch_ + CallArea::kCallsOffset, area.calls());
    if (area.is_complete()) return;
    if (looks < kLooksBeforeSleeping) {
      ::sched_yield();
      continue;
    }
    if (Clock::now() >= deadline) {
      interrupt_loop(batch);
      leave_loop(batch);
      loop_.reset();
      throw Error(fmt::format("system calls in process {} did not return; try again later", pid_), ETIMEDOUT);
    }
    for (const ThreadCalls& thread : batch) {
      if (std::optional<Stop> stop = look_for_stop(pid_, thread.thread->tid))
        pass_over(*thread.thread, *stop);
    }
    timespec pause{.tv_sec = 0, .tv_nsec = 50'000};
    ::nanosleep(&pause, nullptr);
  }
}

// A thread that runs borrowed code has stopped for a reason that is not ours: on it goes.
void Tracee::pass_over(const StoppedThread& thread, const Stop& stop) {
  if (stop.ended) throw Error(fmt::format("process {} was killed", pid_), ESRCH);
  bool is_signal = !stop.is_event_stop() && !stop.is_syscall_stop();
  if (is_signal && stop.signal != SIGSTOP) {
    throw Error(fmt::format("system calls in thread {} met {}; is memory short?", thread.tid,
                            sigabbrev_np(stop.signal)));
  }
  owes_stop_ |= is_signal;
  ::ptrace(PTRACE_CONT, thread.tid, nullptr, 0);
}

void Tracee::interrupt_loop(std::span<const ThreadCalls> batch) {
  for (const ThreadCalls& thread : batch) ::ptrace(PTRACE_INTERRUPT, thread.thread->tid, nullptr, nullptr);
}

void Tracee::leave_loop(std::span<const ThreadCalls> batch) {
  auto deadline = Clock::now() + kLoopDeadline;
  for (const ThreadCalls& thread : batch) {
    for (;;) {
      std::optional<Stop> stop = wait_for_stop(pid_, thread.thread->tid, deadline);
      if (!stop) throw Error(fmt::format("thread {} did not stop again", thread.thread->tid), ETIMEDOUT);
      if (stop->is_event_stop()) break;
      pass_over(*thread.thread, *stop);
    }
  }
}

}  // namespace ckpt::engine
